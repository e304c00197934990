//! Conferences: create them, look at them, decide who may do what.

use confab_protocol::control::Slug;
use confab_protocol::wire::{self, Role, Visibility, request};
use serde::Serialize;

use super::Context;
use super::account::time;
use crate::failure::Failure;
use crate::flags::{Conference, MemberOf, NewRole};
use crate::net::api::Change;
use crate::output::Say;

pub(super) async fn run(context: &Context, command: Conference) -> Result<(), Failure> {
    use request::Kind;
    match command {
        Conference::Create {
            slug,
            title,
            invite_only,
            region,
        } => {
            let visibility = if invite_only {
                Visibility::Invite
            } else {
                Visibility::Public
            };
            let request = wire::CreateConference {
                slug: slug.into(),
                title: title.map_or_else(String::new, Into::into),
                visibility: visibility.into(),
                region: region.map_or_else(String::new, Into::into),
            };
            show(
                context,
                "conference_created",
                Kind::CreateConference(request),
            )
            .await
        }
        Conference::Info { slug } => {
            let request = wire::ConferenceInfo { slug: slug.into() };
            show(context, "conference", Kind::ConferenceInfo(request)).await
        }
        Conference::List => list(context).await,
        Conference::Members { slug } => members(context, &slug).await,
        Conference::Delete { slug } => {
            let request = wire::DeleteConference {
                slug: slug.to_string(),
            };
            let text = format!("conference {slug} deleted");
            done(
                context,
                "conference_deleted",
                &slug,
                None,
                text,
                Kind::DeleteConference(request),
            )
            .await
        }
        Conference::Leave { slug } => {
            let request = wire::LeaveConference {
                slug: slug.to_string(),
            };
            let text = format!("no longer a member of {slug}");
            done(
                context,
                "conference_left",
                &slug,
                None,
                text,
                Kind::LeaveConference(request),
            )
            .await
        }
        Conference::Invite { member, listener } => {
            let role = if listener {
                Role::Listener
            } else {
                Role::Member
            };
            let MemberOf { slug, user } = member;
            let request = wire::Invite {
                slug: slug.to_string(),
                username: user.clone(),
                role: role.into(),
            };
            let text = format!("{user} is a {} of {slug}", role_name(role));
            done(
                context,
                "invited",
                &slug,
                Some(user),
                text,
                Kind::Invite(request),
            )
            .await
        }
        Conference::Kick(MemberOf { slug, user }) => {
            let request = wire::Kick {
                slug: slug.to_string(),
                username: user.clone(),
            };
            let text = format!("{user} was sent out of {slug}");
            done(
                context,
                "kicked",
                &slug,
                Some(user),
                text,
                Kind::Kick(request),
            )
            .await
        }
        Conference::Ban(MemberOf { slug, user }) => {
            let request = wire::Ban {
                slug: slug.to_string(),
                username: user.clone(),
            };
            let text = format!("{user} is banned from {slug}");
            done(
                context,
                "banned",
                &slug,
                Some(user),
                text,
                Kind::Ban(request),
            )
            .await
        }
        Conference::Unban(MemberOf { slug, user }) => {
            set_role(context, "unbanned", slug, user, Role::Member).await
        }
        Conference::Mute(MemberOf { slug, user }) => mute(context, "muted", slug, user, true).await,
        Conference::Unmute(MemberOf { slug, user }) => {
            mute(context, "unmuted", slug, user, false).await
        }
        Conference::Role { member, role } => {
            let role = match role {
                NewRole::Moderator => Role::Moderator,
                NewRole::Member => Role::Member,
                NewRole::Listener => Role::Listener,
            };
            set_role(context, "role_set", member.slug, member.user, role).await
        }
    }
}

/// A role's name as it is shown.
pub(super) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Moderator => "moderator",
        Role::Member => "member",
        Role::Listener => "listener",
        Role::Banned => "banned",
        Role::Unspecified => "none",
    }
}

async fn show(context: &Context, event: &'static str, kind: request::Kind) -> Result<(), Failure> {
    let (_, link) = context.signed_in().await?;
    let conference = link.conference(kind).await?;
    context.output.say(&ConferenceSaid {
        event,
        conference: conference.into(),
    });
    link.close().await;
    Ok(())
}

async fn list(context: &Context) -> Result<(), Failure> {
    let (_, link) = context.signed_in().await?;
    let conferences = link
        .list_conferences()
        .await?
        .into_iter()
        .map(Into::into)
        .collect();
    context.output.say(&List {
        event: "conferences",
        conferences,
    });
    link.close().await;
    Ok(())
}

async fn members(context: &Context, slug: &Slug) -> Result<(), Failure> {
    let (_, link) = context.signed_in().await?;
    let members = link
        .list_members(slug)
        .await?
        .into_iter()
        .map(|member| MemberShown {
            role: role_name(member.role()),
            username: member.username,
            muted: member.muted,
            since: time(member.since_ms),
        });
    context.output.say(&Members {
        event: "members",
        slug: slug.to_string(),
        members: members.collect(),
    });
    link.close().await;
    Ok(())
}

async fn set_role(
    context: &Context,
    event: &'static str,
    slug: Slug,
    user: String,
    role: Role,
) -> Result<(), Failure> {
    let request = wire::SetRole {
        slug: slug.to_string(),
        username: user.clone(),
        role: role.into(),
    };
    let text = format!("{user} is a {} of {slug}", role_name(role));
    done(
        context,
        event,
        &slug,
        Some(user),
        text,
        request::Kind::SetRole(request),
    )
    .await
}

async fn mute(
    context: &Context,
    event: &'static str,
    slug: Slug,
    user: String,
    muted: bool,
) -> Result<(), Failure> {
    let request = wire::Mute {
        slug: slug.to_string(),
        username: user.clone(),
        muted,
    };
    let text = format!("{user} is {event} in {slug}");
    done(
        context,
        event,
        &slug,
        Some(user),
        text,
        request::Kind::Mute(request),
    )
    .await
}

async fn done(
    context: &Context,
    event: &'static str,
    slug: &Slug,
    username: Option<String>,
    text: String,
    kind: request::Kind,
) -> Result<(), Failure> {
    let (_, link) = context.signed_in().await?;
    let change = link.change(kind).await?;
    context.output.say(&DoneSaid {
        event,
        slug: slug.to_string(),
        username,
        pending: change == Change::Pending,
        text: text + change.note(),
    });
    link.close().await;
    Ok(())
}

#[derive(Serialize)]
struct ConferenceShown {
    slug: String,
    title: String,
    visibility: &'static str,
    owner: String,
    role: &'static str,
    live: u32,
    /// None when its author did not set one.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    created: String,
}

impl From<wire::Conference> for ConferenceShown {
    fn from(conference: wire::Conference) -> Self {
        Self {
            visibility: match conference.visibility() {
                Visibility::Public => "public",
                Visibility::Invite => "invite",
                Visibility::Unspecified => "unknown",
            },
            role: role_name(conference.role()),
            slug: conference.slug,
            title: conference.title,
            owner: conference.owner,
            live: conference.live,
            region: Some(conference.region).filter(|region| !region.is_empty()),
            created: time(conference.created_ms),
        }
    }
}

#[derive(Serialize)]
struct ConferenceSaid {
    event: &'static str,
    #[serde(flatten)]
    conference: ConferenceShown,
}

impl Say for ConferenceSaid {
    fn lines(&self) -> Vec<String> {
        let ConferenceShown {
            slug,
            title,
            visibility,
            owner,
            role,
            live,
            region,
            created,
        } = &self.conference;
        let mut lines = vec![
            format!("{slug}: {title}"),
            format!("owner     {owner}"),
            format!("open to   {visibility}"),
            format!("your role {role}"),
            format!("live      {live}"),
        ];
        lines.extend(region.iter().map(|region| format!("region    {region}")));
        lines.push(format!("since     {created}"));
        lines
    }
}

#[derive(Serialize)]
struct List {
    event: &'static str,
    conferences: Vec<ConferenceShown>,
}

impl Say for List {
    fn lines(&self) -> Vec<String> {
        if self.conferences.is_empty() {
            let hint = "no conferences yet: `confab conference create SLUG`, or join one";
            return vec![hint.into()];
        }
        let line = |c: &ConferenceShown| {
            let region = c
                .region
                .as_ref()
                .map_or_else(String::new, |region| format!("  ({region})"));
            format!(
                "{:<24} {:>4} live  {:<9} {}{region}",
                c.slug, c.live, c.role, c.title
            )
        };
        self.conferences.iter().map(line).collect()
    }
}

#[derive(Serialize)]
struct Members {
    event: &'static str,
    slug: String,
    members: Vec<MemberShown>,
}

#[derive(Serialize)]
struct MemberShown {
    username: String,
    role: &'static str,
    muted: bool,
    since: String,
}

impl Say for Members {
    fn lines(&self) -> Vec<String> {
        let line = |m: &MemberShown| {
            let muted = if m.muted { "  muted" } else { "" };
            format!("{:<32} {:<9} since {}{muted}", m.username, m.role, m.since)
        };
        self.members.iter().map(line).collect()
    }
}

#[derive(Serialize)]
struct DoneSaid {
    event: &'static str,
    slug: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    /// It is stored, and a relay that is out of reach does not obey it yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pending: bool,
    #[serde(skip)]
    text: String,
}

impl Say for DoneSaid {
    fn text(&self) -> Option<String> {
        Some(self.text.clone())
    }
}
