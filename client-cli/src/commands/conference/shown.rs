//! How conferences and members are printed.

use confab_protocol::wire;
use serde::Serialize;

use crate::output::Printed;
use confab_protocol::control::room::{role_name, visibility_name};
use confab_protocol::dates::time;

/// A conference as it is printed.
#[derive(Serialize)]
pub(super) struct ConferenceShown {
    slug: String,
    title: String,
    visibility: &'static str,
    owner: String,
    role: &'static str,
    live: u32,
    /// Who is in the room, as far as the server tells.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    present: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    created: String,
}

impl From<wire::Conference> for ConferenceShown {
    fn from(conference: wire::Conference) -> Self {
        Self {
            visibility: visibility_name(conference.visibility()),
            role: role_name(conference.role()),
            slug: conference.slug,
            title: conference.title,
            owner: conference.owner,
            live: conference.live,
            present: conference.present,
            region: Some(conference.region).filter(|region| !region.is_empty()),
            created: time(conference.created_ms),
        }
    }
}

#[derive(Serialize)]
pub(super) struct ConferenceReport {
    pub(super) event: &'static str,
    #[serde(flatten)]
    pub(super) conference: ConferenceShown,
}

impl Printed for ConferenceReport {
    fn lines(&self) -> Vec<String> {
        let ConferenceShown {
            slug,
            title,
            visibility,
            owner,
            role,
            live,
            present,
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
        if !present.is_empty() {
            let more = match live.saturating_sub(u32::try_from(present.len()).unwrap_or(u32::MAX)) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            lines.push(format!("in it     {}{more}", present.join(", ")));
        }
        lines.extend(region.iter().map(|region| format!("region    {region}")));
        lines.push(format!("since     {created}"));
        lines
    }
}

#[derive(Serialize)]
pub(super) struct ConferenceList {
    pub(super) event: &'static str,
    pub(super) conferences: Vec<ConferenceShown>,
}

impl Printed for ConferenceList {
    fn lines(&self) -> Vec<String> {
        if self.conferences.is_empty() {
            let hint = "no conferences yet: `confab conference create SLUG`, or join one";
            return vec![hint.into()];
        }
        let head = format!("{:<32} {:>4}  {:<9}  TITLE", "SLUG", "LIVE", "ROLE");
        let line = |c: &ConferenceShown| {
            let region = c
                .region
                .as_ref()
                .map_or_else(String::new, |region| format!("  ({region})"));
            format!(
                "{:<32} {:>4}  {:<9}  {}{region}",
                c.slug, c.live, c.role, c.title
            )
        };
        let lines = self.conferences.iter().map(line);
        std::iter::once(head).chain(lines).collect()
    }
}

#[derive(Serialize)]
pub(super) struct MemberList {
    pub(super) event: &'static str,
    pub(super) slug: String,
    pub(super) members: Vec<MemberShown>,
}

#[derive(Serialize)]
pub(super) struct MemberShown {
    username: String,
    role: &'static str,
    muted: bool,
    since: String,
}

impl From<wire::Member> for MemberShown {
    fn from(member: wire::Member) -> Self {
        Self {
            role: role_name(member.role()),
            username: member.username,
            muted: member.muted,
            since: time(member.since_ms),
        }
    }
}

impl Printed for MemberList {
    fn lines(&self) -> Vec<String> {
        let head = format!("{:<32} {:<9}  {:<20}  MUTED", "NAME", "ROLE", "SINCE");
        let line = |m: &MemberShown| {
            let muted = if m.muted { "yes" } else { "-" };
            format!("{:<32} {:<9}  {}  {muted}", m.username, m.role, m.since)
        };
        let lines = self.members.iter().map(line);
        std::iter::once(head).chain(lines).collect()
    }
}
