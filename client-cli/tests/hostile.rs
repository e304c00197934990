//! A server that is trusted and hostile: what it says commands no terminal and looks like nothing else.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Authority, Client, FakeServer, kindly};
use confab_protocol::control::text;
use confab_protocol::wire::{self, ErrorCode, request, response};

/// Clears the screen, turns the line around, begins another one, hides letters.
const HOSTILE: &str =
    "x\u{1b}[2J\u{9b}31m\u{202e}y\r\nconfab: all is well\u{ad}\u{e0041}\u{3164}\u{7}";

/// A client that is logged in at the server.
async fn logged_in() -> (Client, FakeServer, String) {
    let (public, cluster) = (Authority::new(), Authority::new());
    let server = FakeServer::start(cluster.server());
    let client = Client::new(&public);
    let (name, pin) = (server.by_address(), cluster.fingerprint().to_string());
    let ended = client
        .run(&name, &["--fingerprint", &pin, "login", "ann"])
        .await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    (client, server, name)
}

/// Says hostile things wherever there is room for text.
fn hostile(request: &request::Kind) -> response::Kind {
    let conference = || wire::Conference {
        slug: HOSTILE.into(),
        title: HOSTILE.into(),
        owner: HOSTILE.into(),
        region: HOSTILE.into(),
        ..wire::Conference::default()
    };
    match request {
        request::Kind::WhoAmI(_) => response::Kind::Account(wire::Account {
            username: HOSTILE.into(),
            email: HOSTILE.into(),
            birthday: HOSTILE.into(),
            ..wire::Account::default()
        }),
        request::Kind::ListSessions(_) => response::Kind::Sessions(wire::Sessions {
            sessions: vec![wire::Session {
                device: HOSTILE.into(),
                ..wire::Session::default()
            }],
        }),
        request::Kind::ListConferences(_) => response::Kind::Conferences(wire::Conferences {
            conferences: vec![conference()],
            ..wire::Conferences::default()
        }),
        request::Kind::ConferenceInfo(_) => response::Kind::Conference(conference()),
        request::Kind::ListMembers(_) => response::Kind::Members(wire::Members {
            members: vec![wire::Member {
                username: HOSTILE.into(),
                ..wire::Member::default()
            }],
            ..wire::Members::default()
        }),
        request::Kind::ExportAccount(_) => response::Kind::AccountExport(wire::AccountExport {
            json: serde_json::json!({ HOSTILE: [HOSTILE] }).to_string(),
        }),
        request::Kind::JoinRoom(_) | request::Kind::Kick(_) => response::Kind::Error(wire::Error {
            code: ErrorCode::Denied.into(),
            message: HOSTILE.into(),
            ..wire::Error::default()
        }),
        other => kindly(other),
    }
}

const COMMANDS: [&[&str]; 8] = [
    &["whoami"],
    &["sessions", "list"],
    &["conference", "list"],
    &["conference", "info", "friday"],
    &["conference", "members", "friday"],
    &["conference", "kick", "friday", "ben"],
    &["account", "export"],
    &["join", "friday", "--in", "none", "--out", "none"],
];

#[tokio::test(flavor = "multi_thread")]
async fn control_characters_of_a_server_are_printed_as_escapes() {
    let (client, server, name) = logged_in().await;
    server.answers(hostile);
    for command in COMMANDS {
        let ended = client.run(&name, command).await;
        let said = ended.stdout + &ended.stderr;
        for line in said.lines() {
            assert_eq!(text::check(line), Ok(()), "{command:?}: {line:?}");
            assert!(!line.starts_with("confab: all"), "{command:?}: {said:?}");
        }
        // It is told all the same.
        assert!(said.contains("all is well"), "{command:?}: {said:?}");

        let ended = client.run(&name, &[&["--json"], command].concat()).await;
        assert_eq!(ended.stderr, "", "{command:?}");
        let lines: Vec<_> = ended.stdout.lines().collect();
        assert_eq!(lines.len(), 1, "{command:?}: {lines:?}");
        assert_eq!(text::check(lines[0]), Ok(()), "{command:?}");
        let value: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert!(holds(&value, HOSTILE), "{command:?}: {value:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_json_with_the_same_value_in_text_too() {
    let (client, server, name) = logged_in().await;
    server.answers(hostile);
    let ended = client.run(&name, &["account", "export"]).await;
    let value: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(value, serde_json::json!({ HOSTILE: [HOSTILE] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reason_for_closing_is_shown_as_escapes() {
    let (client, server, name) = logged_in().await;
    server.hangs_up(HOSTILE);
    for args in [&["whoami"][..], &["-vv", "whoami"], &["--json", "whoami"]] {
        let ended = client.run(&name, args).await;
        assert_eq!(ended.code, Some(6), "{ended:?}");
        let said = ended.stdout + &ended.stderr;
        // Whether the reason comes before the stream's end is chance.
        assert!(said.contains("lost"), "{said:?}");
        for line in said.lines() {
            assert_eq!(text::check(line), Ok(()), "{args:?}: {line:?}");
            assert!(!line.starts_with("confab: all"), "{said:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_shown_up_to_a_length() {
    let (client, server, name) = logged_in().await;
    server.answers(|request| match request {
        request::Kind::WhoAmI(_) => response::Kind::Error(wire::Error {
            code: ErrorCode::Internal.into(),
            message: "no ".repeat(300_000),
            ..wire::Error::default()
        }),
        other => kindly(other),
    });
    let ended = client.run(&name, &["whoami"]).await;
    assert!(ended.stderr.len() < 1000, "{} bytes", ended.stderr.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_an_end_ends() {
    let (client, server, name) = logged_in().await;
    server.answers(|request| match request {
        request::Kind::ListMembers(_) => response::Kind::Members(wire::Members {
            members: vec![wire::Member::default(); 20_000],
            next: vec![1].into(),
        }),
        other => kindly(other),
    });
    let ended = client
        .run(&name, &["conference", "members", "friday"])
        .await;
    assert_eq!(ended.code, Some(8), "{ended:?}");
    assert!(server.heard().len() < 10);
}

fn holds(value: &serde_json::Value, text: &str) -> bool {
    match value {
        serde_json::Value::String(said) => said.contains(text),
        serde_json::Value::Array(values) => values.iter().any(|value| holds(value, text)),
        serde_json::Value::Object(fields) => fields.values().any(|value| holds(value, text)),
        _ => false,
    }
}
