//! Values of the server, for people.

use confab_protocol::control::room::Role;

/// A time of the server as text, RFC 3339 in UTC.
pub(super) fn time(ms: u64) -> String {
    let known = i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    known.map_or_else(
        || "unknown".into(),
        |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

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
