//! The records of the store.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::digest;
use confab_e2ee::mls::identity::DevicePublicKey;
use confab_protocol::cluster::BootId;
use confab_protocol::control::invitation::INVITATION_LEN;
use confab_protocol::control::room::{Role, Visibility};
use confab_protocol::control::{
    AccountId, Birthday, ConferenceId, Device, Email, InvitationId, InvitationToken, Region, Slug,
    Title, Username,
};
use confab_protocol::wire;
pub use confab_protocol::wire::AccountKind;

use crate::clock::UnixMillis;
use crate::domain::{NodeName, PasswordHash, RelayName};
use crate::random;
use crate::store::StoreError;

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRecord {
    /// Never changes.
    pub id: AccountId,
    /// Unique in the service.
    pub username: Username,
    /// Unique in the service; `None` where the service asks for none.
    pub email: Option<Email>,
    /// True if the holder has shown that it reads mail sent to `email`.
    pub email_verified: bool,
    /// The hash of the password.
    pub password: PasswordHash,
    /// The birthday of its holder; `None` where the service asks for none.
    pub birthday: Option<Birthday>,
    /// The time of creation.
    pub created: UnixMillis,
    /// True if an operator has disabled the account: it cannot log in.
    pub disabled: bool,
    /// The number of times that it was disabled or enabled, modulo 65536.
    pub revision: u16,
    /// Whose it is.
    pub kind: AccountKind,
    /// How a guest came; `None` for others.
    pub guest: Option<GuestOrigin>,
}

/// How a guest came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestOrigin {
    /// Its device.
    pub device: DevicePublicKey,
    /// The invitation that it used; `None` if it needed none.
    pub invitation: Option<InvitationId>,
}

/// A guest's device that may not come to a conference as a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestBan {
    /// The conference.
    pub conference: ConferenceId,
    /// The device.
    pub device: DevicePublicKey,
    /// The account that the guest had.
    pub account: AccountId,
    /// The name that the guest had.
    pub username: Username,
    /// The time of the ban.
    pub since: UnixMillis,
}

/// Lifetime of a [`GuestBan`]: guests are forgotten, and so are their bans.
pub const GUEST_BAN_LIFE: Duration = Duration::from_secs(180 * 24 * 60 * 60);

impl AccountRecord {
    /// An account that is created at `now`, with a new id, and with neither an e-mail address nor a birthday.
    pub fn new(
        kind: AccountKind,
        username: Username,
        password: PasswordHash,
        now: UnixMillis,
    ) -> Self {
        Self {
            id: AccountId::new(random::time_ordered_id(now)),
            username,
            email: None,
            email_verified: false,
            password,
            birthday: None,
            created: now,
            disabled: false,
            revision: 0,
            kind,
            guest: None,
        }
    }

    /// The wire message for the account's holder, or an operator.
    pub fn to_wire(&self) -> wire::Account {
        let birthday = self.birthday.map(|day| day.to_string());
        wire::Account {
            id: self.id.to_wire(),
            username: self.username.as_str().to_owned(),
            email: self.email.as_ref().map_or("", Email::as_str).to_owned(),
            birthday: birthday.unwrap_or_default(),
            created_ms: self.created.0,
            disabled: self.disabled,
            kind: self.kind.into(),
            email_verified: self.email_verified,
        }
    }

    /// The time at which a guest's account is deleted; `None` for another.
    pub(super) fn ends(&self) -> Option<UnixMillis> {
        let is_guest = self.kind == AccountKind::Guest;
        is_guest.then(|| self.created.after(GUEST_ACCOUNT_LIFE))
    }

    /// Disables or enables the account. The revision grows, so that no earlier record comes back.
    pub(super) fn set_disabled(&mut self, disabled: bool) {
        if self.disabled != disabled {
            self.disabled = disabled;
            self.revision = self.revision.wrapping_add(1);
        }
    }

    /// The account with this e-mail address, which nobody has verified.
    pub fn with_email(self, email: Option<Email>) -> Self {
        Self {
            email,
            email_verified: false,
            ..self
        }
    }

    /// Replaces the e-mail address `old` by `new`, which nobody has verified; false if the address is `new` already. The revision grows, as
    /// above.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if the address is neither.
    pub(super) fn change_email(
        &mut self,
        old: Option<&Email>,
        new: Option<&Email>,
    ) -> Result<bool, StoreError> {
        if self.email.as_ref() == new {
            return Ok(false);
        }
        if self.email.as_ref() != old {
            return Err(StoreError::Conflict);
        }
        self.email = new.cloned();
        self.email_verified = false;
        self.revision = self.revision.wrapping_add(1);
        Ok(true)
    }
}

/// Lifetime of a guest's session.
pub const GUEST_SESSION_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Lifetime of a guest's account, which the store deletes after that: a little longer than its session.
pub(super) const GUEST_ACCOUNT_LIFE: Duration = Duration::from_secs(25 * 60 * 60);

/// A birthday as the integer YYYYMMDD, which takes four bytes.
pub(super) fn day_number(birthday: Birthday) -> u32 {
    let text = birthday.to_string();
    let digits = text.bytes().filter(u8::is_ascii_digit);
    digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
}

/// The birthday of [`day_number`]; `None` if it is no day.
pub(super) fn numbered_day(number: u32) -> Option<Birthday> {
    let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
    format!("{year:04}-{month:02}-{day:02}").parse().ok()
}

/// The id of a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub [u8; 16]);

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The id of a server, in its store and in the data folders of its nodes. Random, drawn once.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServerId(pub [u8; 16]);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The first half of the SHA-256 of a token's secret of 32 random bytes. Finding a secret for one of a hundred million such hashes takes
/// 2¹⁰¹ tries, and a token needs the server's key, too.
pub type SecretHash = [u8; 16];

/// A signed-in device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Never changes.
    pub id: SessionId,
    /// The account that is signed in.
    pub account: AccountId,
    /// Counts the tokens of the session.
    pub generation: u32,
    /// The hash of the newest token's secret.
    pub secret_hash: SecretHash,
    /// Whether the newest token has been presented.
    pub used: bool,
    /// The name of the device.
    pub device: Device,
    /// The time of the sign-in.
    pub created: UnixMillis,
    /// The time of the newest token.
    pub rotated: UnixMillis,
    /// The end, unless it is refreshed.
    pub expires: UnixMillis,
}

/// The values that a refresh changes in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// The hash of the new token's secret.
    pub secret_hash: SecretHash,
    /// The time of the new token.
    pub rotated: UnixMillis,
    /// The session's new end.
    pub expires: UnixMillis,
}

/// A conference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConferenceRecord {
    /// Never changes.
    pub id: ConferenceId,
    /// Unique in the service.
    pub slug: Slug,
    /// The title, for display.
    pub title: Title,
    /// The accounts that may join.
    pub visibility: Visibility,
    /// The account that created it, or that an operator has given it to.
    pub owner: AccountId,
    /// The owner's username, which never changes.
    pub owner_name: Username,
    /// The time of creation.
    pub created: UnixMillis,
    /// The region of its relay; `None`: the region of the first participant who joins.
    pub region: Option<Region>,
    /// The number of times that it was changed, modulo 65536.
    pub revision: u16,
}

impl ConferenceRecord {
    /// The wire message for a client with this role (or `Unspecified`), while `live` participants are in the room.
    pub fn to_wire(&self, role: Role, live: u32) -> wire::Conference {
        wire::Conference {
            id: self.id.to_wire(),
            slug: self.slug.as_str().to_owned(),
            title: self.title.as_str().to_owned(),
            visibility: self.visibility.into(),
            owner: self.owner_name.as_str().to_owned(),
            created_ms: self.created.0,
            role: role.into(),
            live,
            region: self
                .region
                .as_ref()
                .map(Region::to_string)
                .unwrap_or_default(),
            present: Vec::new(),
        }
    }
}

/// The role of an account in a conference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The rights.
    pub role: Role,
    /// Muted by a moderator.
    pub muted: bool,
    /// The start of the membership; a change keeps it.
    pub since: UnixMillis,
    /// Counts changes, modulo 2¹⁶. A late change finds another revision than the one that it was decided by, even if role and mute are
    /// the same again.
    pub revision: u16,
}

impl Standing {
    /// The standing of an account that has had none.
    pub fn first(role: Role, since: UnixMillis) -> Self {
        Self {
            role,
            muted: false,
            since,
            revision: 0,
        }
    }

    /// The next standing, with these rights.
    pub fn changed_to(self, role: Role, muted: bool) -> Self {
        Self {
            role,
            muted,
            since: self.since,
            revision: self.revision.wrapping_add(1),
        }
    }
}

/// An account with its standing in a conference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRecord {
    /// The account.
    pub account: AccountId,
    /// Its username.
    pub username: Username,
    /// Its standing.
    pub standing: Standing,
}

impl From<MemberRecord> for wire::Member {
    fn from(member: MemberRecord) -> Self {
        Self {
            account_id: member.account.to_wire(),
            username: member.username.into(),
            role: member.standing.role.into(),
            muted: member.standing.muted,
            since_ms: member.standing.since.0,
        }
    }
}

/// A conference with the account's standing in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The conference.
    pub conference: ConferenceRecord,
    /// The account's standing.
    pub standing: Standing,
}

/// The id of the invitation that has this token.
pub fn invitation_id(token: &InvitationToken) -> InvitationId {
    let mut id = [0; INVITATION_LEN];
    let hash = digest::digest(&digest::SHA256, token.as_bytes());
    id.copy_from_slice(&hash.as_ref()[..INVITATION_LEN]);
    InvitationId(id)
}

/// An invitation: whoever has its token may become a member of the conference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationRecord {
    /// The conference.
    pub conference: ConferenceId,
    /// The hash of the token, see [`invitation_id`].
    pub id: InvitationId,
    /// The role that it gives.
    pub role: Role,
    /// The account that made it.
    pub author: AccountId,
    /// The author's username, which never changes.
    pub author_name: Username,
    /// The time of creation.
    pub created: UnixMillis,
    /// The end.
    pub expires: UnixMillis,
    /// The number of accounts that may use it.
    pub uses: u32,
    /// The number of accounts that have used it.
    pub used: u32,
    /// The account that used it last. It tells two uses apart that happen at once.
    pub last_user: Option<AccountId>,
}

impl InvitationRecord {
    /// The record after the account has used it.
    pub(super) fn used_by(&self, account: AccountId) -> Self {
        Self {
            used: self.used.saturating_add(1),
            last_user: Some(account),
            ..self.clone()
        }
    }
}

impl From<InvitationRecord> for wire::Invitation {
    fn from(invitation: InvitationRecord) -> Self {
        Self {
            id: invitation.id.to_wire(),
            role: invitation.role.into(),
            uses: invitation.uses,
            used: invitation.used,
            created_ms: invitation.created.0,
            expires_ms: invitation.expires.0,
            author: invitation.author_name.into(),
        }
    }
}

/// One run of a control node.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NodeRun {
    /// The node.
    pub name: NodeName,
    /// Random, drawn at each start.
    pub incarnation: u64,
}

impl NodeRun {
    /// The run of a node that starts now.
    pub fn new(name: NodeName) -> Self {
        let incarnation = u64::from_be_bytes(random::bytes());
        Self { name, incarnation }
    }
}

/// A heartbeat of a control node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeRecord {
    /// The run of the node.
    pub run: NodeRun,
    /// Counts the heartbeats of the run.
    pub counter: u64,
    /// The address for other nodes, `HOST:PORT`.
    pub cluster: String,
    /// The addresses for clients, `HOST:PORT` each.
    pub public: Vec<String>,
}

/// The relay of a room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HomePlace {
    /// The relay.
    pub relay: RelayName,
    /// The boot id of the relay.
    pub boot: BootId,
    /// Counts the room's placements within the era.
    pub placement: u64,
}

/// The home of a conference's room. Never deleted, so that no era is used twice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HomeRecord {
    /// Counts the room's owners, from 1.
    pub era: u64,
    /// The owner; `None` after it released the room.
    pub owner: Option<NodeRun>,
    /// The relay of its media, or the last one.
    pub place: Option<HomePlace>,
}

impl HomeRecord {
    /// Whether it may replace `old`: an era never decreases, and belongs to one owner.
    pub fn may_follow(&self, old: Option<&Self>) -> bool {
        let Some(old) = old else {
            return self.era > 0;
        };
        let stays = self.owner.is_none() || self.owner == old.owner;
        self.era > old.era || (self.era == old.era && stays)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_is_known_by_the_hash_of_its_token() {
        // `head -c16 /dev/zero | sha256sum`
        let id = invitation_id(&InvitationToken::new([0; 16]));
        assert_eq!(id.to_string(), "374708fff7719dd5979ec875d56cd228");
    }

    #[test]
    fn an_era_never_falls_and_has_one_owner() {
        let run = |incarnation| {
            let name = "one".parse().unwrap();
            Some(NodeRun { name, incarnation })
        };
        let home = |era, owner| HomeRecord {
            era,
            owner,
            place: None,
        };
        let old = home(5, run(1));
        for new in [
            home(5, run(1)),
            home(5, None),
            home(6, run(1)),
            home(6, run(2)),
        ] {
            assert!(new.may_follow(Some(&old)), "{new:?}");
        }
        for new in [home(5, run(2)), home(4, run(1)), home(4, None)] {
            assert!(!new.may_follow(Some(&old)), "{new:?}");
        }
        let let_go = home(5, None);
        assert!(!home(5, run(1)).may_follow(Some(&let_go)));
        assert!(home(6, run(1)).may_follow(Some(&let_go)));
        assert!(home(1, run(1)).may_follow(None));
        assert!(!home(0, run(1)).may_follow(None), "eras begin at 1");
    }
}
