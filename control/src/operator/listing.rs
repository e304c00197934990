//! Formats accounts, conferences and rooms as tables and as JSON.

use confab_protocol::control::room::{role_name, visibility_name};
use confab_protocol::control::text::escaped;
use confab_protocol::dates::time;
use confab_protocol::wire::{self, AccountKind};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::admin::Rows;
use super::show::table;

/// The heads of a list's columns. Rows of later pages fit below them.
pub fn heads(rows: &Rows) -> String {
    match rows {
        Rows::Accounts(_) => account_line("NAME", "STATE", "SINCE", "E-MAIL"),
        Rows::Conferences(_) => conference_line("SLUG", "LIVE", "OPEN TO", "OWNER", "TITLE"),
    }
}

/// The lines of a page.
pub fn lines(rows: &Rows) -> Vec<String> {
    match rows {
        Rows::Accounts(accounts) => accounts.iter().map(account_row).collect(),
        Rows::Conferences(conferences) => conferences.iter().map(conference_row).collect(),
    }
}

/// The objects of a page.
pub fn objects(rows: &Rows) -> Vec<Value> {
    match rows {
        Rows::Accounts(accounts) => accounts.iter().map(account_json).collect(),
        Rows::Conferences(conferences) => conferences.iter().map(conference_json).collect(),
    }
}

fn account_row(account: &wire::Account) -> String {
    account_line(
        &account.username,
        state(account),
        &time(account.created_ms),
        or_dash(&account.email),
    )
}

fn account_line(name: &str, state: &str, since: &str, email: &str) -> String {
    let line = format!("{name:<32}  {state:<8}  {since:<20}  {email}");
    escaped(line.trim_end()).into_owned()
}

fn conference_row(conference: &wire::Conference) -> String {
    conference_line(
        &conference.slug,
        &conference.live.to_string(),
        visibility_name(conference.visibility()),
        &conference.owner,
        &conference.title,
    )
}

fn conference_line(slug: &str, live: &str, open_to: &str, owner: &str, title: &str) -> String {
    let line = format!("{slug:<32}  {live:>5}  {open_to:<7}  {owner:<32}  {title}");
    escaped(line.trim_end()).into_owned()
}

/// An account with its sessions and conferences.
pub fn account(details: &wire::AdminAccountDetails) -> String {
    let account = details.account.clone().unwrap_or_default();
    let email = match account.email_verified {
        true => format!("{} (verified)", account.email),
        false => or_dash(&account.email).to_owned(),
    };
    let mut out = facts(&[
        ("name", &account.username),
        ("state", state(&account)),
        ("e-mail", &email),
        ("birthday", or_dash(&account.birthday)),
        ("since", &time(account.created_ms)),
        ("id", &HEXLOWER.encode(&account.id)),
    ]);
    out.push('\n');
    let sessions = details.sessions.iter().map(|session| {
        vec![
            or_dash(&session.device).to_owned(),
            time(session.created_ms),
            time(session.refreshed_ms),
        ]
    });
    table(
        &mut out,
        &["LOGGED IN ON", "SINCE", "LAST REFRESH"],
        sessions.collect(),
    );
    out.push('\n');
    let memberships = details.memberships.iter().map(|membership| {
        vec![
            membership.slug.clone(),
            role_name(membership.role()).to_owned(),
            muted(membership.muted).to_owned(),
        ]
    });
    table(
        &mut out,
        &["CONFERENCE", "ROLE", "MUTED"],
        memberships.collect(),
    );
    if details.more {
        out.push_str("and more\n");
    }
    out
}

/// The same as an object.
pub fn account_details_json(details: &wire::AdminAccountDetails) -> Value {
    let account = details.account.clone().unwrap_or_default();
    let mut all = account_json(&account);
    let session = |session: &wire::AdminSession| {
        json!({
            "device": session.device,
            "since": time(session.created_ms),
            "refreshed": time(session.refreshed_ms),
        })
    };
    let membership = |membership: &wire::AdminMembership| {
        json!({
            "slug": membership.slug,
            "role": role_name(membership.role()),
            "muted": membership.muted,
        })
    };
    all["sessions"] = details.sessions.iter().map(session).collect();
    all["conferences"] = details.memberships.iter().map(membership).collect();
    all["more_conferences"] = details.more.into();
    all
}

/// A conference with its members and the participants in its room.
pub fn conference(details: &wire::AdminConferenceDetails) -> String {
    let conference = details.conference.clone().unwrap_or_default();
    let mut out = facts(&[
        ("slug", &conference.slug),
        ("title", &conference.title),
        ("owner", &conference.owner),
        ("open to", visibility_name(conference.visibility())),
        ("region", or_dash(&conference.region)),
        ("since", &time(conference.created_ms)),
        ("id", &HEXLOWER.encode(&conference.id)),
    ]);
    out.push('\n');
    let members = details.members.iter().map(|member| {
        vec![
            member.username.clone(),
            role_name(member.role()).to_owned(),
            muted(member.muted).to_owned(),
            time(member.since_ms),
        ]
    });
    table(
        &mut out,
        &["MEMBER", "ROLE", "MUTED", "SINCE"],
        members.collect(),
    );
    if details.more {
        out.push_str("and more\n");
    }
    out.push('\n');
    out.push_str(&room(&details.present));
    out
}

/// The same as an object.
pub fn conference_details_json(details: &wire::AdminConferenceDetails) -> Value {
    let conference = details.conference.clone().unwrap_or_default();
    let mut all = conference_json(&conference);
    let member = |member: &wire::Member| {
        json!({
            "username": member.username,
            "role": role_name(member.role()),
            "muted": member.muted,
            "since": time(member.since_ms),
        })
    };
    all["members"] = details.members.iter().map(member).collect();
    all["more_members"] = details.more.into();
    all["present"] = present_json(&details.present);
    all
}

/// The participants in a room.
pub fn room(present: &[wire::Present]) -> String {
    if present.is_empty() {
        return "nobody is in the room\n".to_owned();
    }
    let rows = present.iter().map(|one| {
        vec![
            one.username.clone(),
            role_name(one.role()).to_owned(),
            muted(one.muted).to_owned(),
        ]
    });
    let mut out = String::new();
    table(&mut out, &["IN THE ROOM", "ROLE", "MUTED"], rows.collect());
    out
}

/// The same as an array.
pub fn present_json(present: &[wire::Present]) -> Value {
    let one = |one: &wire::Present| {
        json!({
            "username": one.username,
            "role": role_name(one.role()),
            "muted": one.muted,
        })
    };
    present.iter().map(one).collect()
}

/// The live rooms.
pub fn rooms(rooms: &wire::AdminRooms) -> String {
    let mut out = String::new();
    let rows = rooms.rooms.iter().map(|room| {
        vec![
            room.slug.clone(),
            room.live.to_string(),
            room.node.clone(),
            room.title.clone(),
        ]
    });
    match rooms.rooms.is_empty() {
        true => out.push_str("nobody is in a room\n"),
        false => table(&mut out, &["ROOM", "LIVE", "NODE", "TITLE"], rows.collect()),
    }
    if !rooms.silent.is_empty() {
        let silent = rooms.silent.join(", ");
        let line = format!("without the rooms of nodes that do not answer: {silent}");
        out.push_str(&escaped(&line));
        out.push('\n');
    }
    out
}

/// The live rooms as objects.
pub fn rooms_json(rooms: &wire::AdminRooms) -> Vec<Value> {
    let one = |room: &wire::AdminRoom| {
        json!({
            "slug": room.slug,
            "title": room.title,
            "live": room.live,
            "node": room.node,
        })
    };
    rooms.rooms.iter().map(one).collect()
}

fn account_json(account: &wire::Account) -> Value {
    json!({
        "id": HEXLOWER.encode(&account.id),
        "username": account.username,
        "email": none_if_empty(&account.email),
        "email_verified": account.email_verified,
        "birthday": none_if_empty(&account.birthday),
        "since": time(account.created_ms),
        "disabled": account.disabled,
        "kind": match account.kind() {
            AccountKind::Person => "person",
            AccountKind::Bot => "bot",
            AccountKind::Guest => "guest",
        },
    })
}

fn conference_json(conference: &wire::Conference) -> Value {
    json!({
        "id": HEXLOWER.encode(&conference.id),
        "slug": conference.slug,
        "title": conference.title,
        "visibility": visibility_name(conference.visibility()),
        "owner": conference.owner,
        "since": time(conference.created_ms),
        "region": none_if_empty(&conference.region),
        "live": conference.live,
    })
}

/// Lines of a name and a value each.
fn facts(facts: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in facts {
        out.push_str(&escaped(&format!("{name:<9} {value}")));
        out.push('\n');
    }
    out
}

fn state(account: &wire::Account) -> &'static str {
    match (account.disabled, account.kind()) {
        (true, _) => "disabled",
        (false, AccountKind::Bot) => "bot",
        (false, AccountKind::Guest) => "guest",
        (false, AccountKind::Person) => "active",
    }
}

fn muted(muted: bool) -> &'static str {
    if muted { "yes" } else { "-" }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn none_if_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> wire::Account {
        wire::Account {
            id: vec![7; 16].into(),
            username: "ann".to_owned(),
            created_ms: 1_790_000_000_000,
            disabled: true,
            ..Default::default()
        }
    }

    #[test]
    fn the_columns_of_a_list_stand_below_their_heads() {
        let rows = Rows::Accounts(vec![ann()]);
        let (head, row) = (heads(&rows), lines(&rows).remove(0));
        let starts = |line: &str, word: &str| line.find(word).unwrap();
        assert_eq!(starts(&head, "STATE"), starts(&row, "disabled"));
        assert_eq!(starts(&head, "SINCE"), starts(&row, "2026-"));
        assert_eq!(objects(&rows)[0]["email"], Value::Null);
        let rows = Rows::Conferences(vec![wire::Conference {
            slug: "friday".to_owned(),
            owner: "ann".to_owned(),
            live: 12,
            ..Default::default()
        }]);
        let (head, row) = (heads(&rows), lines(&rows).remove(0));
        assert_eq!(starts(&head, "OWNER"), starts(&row, "ann"));
        assert_eq!(starts(&head, "LIVE") + 2, starts(&row, "12"));
    }

    #[test]
    fn what_others_chose_cannot_command_the_terminal() {
        let mut account = ann();
        account.email = "a\u{1b}[2Jb@example.org\nroot  active".to_owned();
        let session = wire::AdminSession {
            device: "x\u{202e}y".to_owned(),
            ..Default::default()
        };
        let details = wire::AdminAccountDetails {
            account: Some(account.clone()),
            sessions: vec![session],
            ..Default::default()
        };
        let shown = self::account(&details);
        for line in shown.lines().chain(
            lines(&Rows::Accounts(vec![account]))
                .iter()
                .map(String::as_str),
        ) {
            assert_eq!(
                confab_protocol::control::text::check(line),
                Ok(()),
                "{line:?}"
            );
        }
        assert!(shown.lines().all(|line| !line.starts_with("root")));
    }
}
