//! Flags of the commands on conferences.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use confab_console::values::{duration_within, whole_within};
use confab_protocol::control::invitation::{MAX_USES, MAX_VALID, MIN_VALID};
use confab_protocol::control::{InvitationId, Region, Slug, Title};

/// `conference ...`
#[derive(Debug, Subcommand)]
pub enum Conference {
    /// Open a conference.
    Create {
        /// Its name in the service: 3 to 64 letters, digits and '-'.
        slug: Slug,
        /// The title, 1 to 100 characters. Default: the slug.
        #[arg(long)]
        title: Option<Title>,
        /// Only invited accounts may join. Default: every account.
        #[arg(long)]
        invite_only: bool,
        /// Region of the relay, as the server's operator names it. Default: that of the first participant.
        #[arg(long, value_name = "NAME")]
        region: Option<Region>,
    },
    /// Change a conference's title, or who may join it. Who is a member, or in the room, stays.
    Change(ChangeConference),
    /// Show the conferences of which the account is a member.
    List,
    /// Show a conference.
    Info {
        /// The conference's slug.
        slug: Slug,
    },
    /// Print a link to a conference, for those who are to join it: with it they need to know nothing else of the server.
    Link {
        /// The conference's slug.
        slug: Slug,
    },
    /// Show the members of a conference.
    Members {
        /// The conference's slug.
        slug: Slug,
    },
    /// Delete a conference; its room closes. Asks first at a terminal.
    Delete {
        /// The conference's slug.
        slug: Slug,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// End the account's membership.
    Leave {
        /// The conference's slug.
        slug: Slug,
    },
    /// Make an account a member, or print a link that makes whoever follows it one.
    Invite(Invite),
    /// Show the invitations by link that have not expired.
    Invitations {
        /// The conference's slug.
        slug: Slug,
    },
    /// Revoke an invitation by link: nobody becomes a member by it any more. Who did stays one.
    RevokeInvitation {
        /// The conference's slug.
        slug: Slug,
        /// Its id, as `conference invitations` shows it.
        id: InvitationId,
    },
    /// Remove a participant from the room; the participant may join again.
    Kick(MemberOf),
    /// Remove a participant from the room, and refuse further joins.
    Ban(MemberOf),
    /// Lift a ban: the account is a member again.
    Unban(MemberOf),
    /// Mute a member: other participants do not hear it.
    Mute(MemberOf),
    /// Lift a mute.
    Unmute(MemberOf),
    /// Change a member's role.
    Role {
        /// The member.
        #[command(flatten)]
        member: MemberOf,
        /// The new role.
        role: NewRole,
    },
}

/// Options of `conference change`.
#[derive(Debug, Args)]
pub struct ChangeConference {
    /// The conference's slug.
    pub slug: Slug,
    /// Another title, 1 to 100 characters.
    #[arg(long)]
    pub title: Option<Title>,
    /// Every account may join.
    #[arg(long)]
    pub public: bool,
    /// Accounts that are no members need an invitation from now on. An account that has joined before is a member: ban those that you do not want.
    #[arg(long, conflicts_with = "public")]
    pub invite_only: bool,
}

/// Options of `conference invite`.
#[derive(Debug, Args)]
pub struct Invite {
    /// The conference's slug.
    pub slug: Slug,
    /// The username of the account to make a member.
    #[arg(required_unless_present = "link")]
    pub user: Option<String>,
    /// Print a link instead: whoever follows it becomes a member. Send it to nobody else. The server keeps only a hash of it.
    #[arg(long)]
    pub link: bool,
    /// With --link: so many accounts may follow it, 1 to 1000.
    #[arg(long, default_value_t = 10, value_name = "COUNT",
          value_parser = whole_within(1_u32..=MAX_USES))]
    pub uses: u32,
    /// With --link: it is good for so long, 1m to 366d.
    #[arg(long, default_value = "7d", value_name = "TIME",
          value_parser = duration_within(MIN_VALID..=MAX_VALID))]
    pub valid: Duration,
    /// The member may hear and not speak.
    #[arg(long)]
    pub listener: bool,
}

/// A member of a conference.
#[derive(Debug, Args)]
pub struct MemberOf {
    /// The conference's slug.
    pub slug: Slug,
    /// The member's username.
    pub user: String,
}

/// Roles that can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NewRole {
    /// May invite, kick, ban, mute and change roles below its own.
    Moderator,
    /// May speak and hear.
    Member,
    /// May hear only.
    Listener,
}
