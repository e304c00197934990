//! Sessions: where the account is logged in.

use confab_protocol::wire::{self, request};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::Serialize;

use super::Context;
use super::account::time;
use crate::failure::Failure;
use crate::flags::Sessions;
use crate::output::Say;

pub(super) async fn run(context: &Context, command: Sessions) -> Result<(), Failure> {
    match command {
        Sessions::List => list(context).await,
        Sessions::Revoke { id } => revoke(context, &id).await,
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let (_, link) = context.signed_in().await?;
    let sessions = link
        .list_sessions()
        .await?
        .into_iter()
        .map(|session| SessionShown {
            id: HEXLOWER.encode(&session.id),
            device: session.device,
            created: time(session.created_ms),
            expires: time(session.expires_ms),
            current: session.current,
        });
    context.output.say(&List {
        event: "sessions",
        sessions: sessions.collect(),
    });
    link.close().await;
    Ok(())
}

async fn revoke(context: &Context, id: &str) -> Result<(), Failure> {
    let bytes = HEXLOWER_PERMISSIVE
        .decode(id.as_bytes())
        .ok()
        .filter(|bytes| bytes.len() == 16);
    let bytes = bytes.ok_or_else(|| {
        Failure::usage("a session's id has 32 hexadecimal digits: see `confab sessions list`")
    })?;
    let (_, link) = context.signed_in().await?;
    link.done(request::Kind::RevokeSession(wire::RevokeSession {
        id: bytes.into(),
    }))
    .await?;
    context.output.say(&Revoked {
        event: "session_revoked",
        id: id.to_ascii_lowercase(),
    });
    link.close().await;
    Ok(())
}

#[derive(Serialize)]
struct List {
    event: &'static str,
    sessions: Vec<SessionShown>,
}

#[derive(Serialize)]
struct SessionShown {
    id: String,
    device: String,
    created: String,
    expires: String,
    current: bool,
}

impl Say for List {
    fn lines(&self) -> Vec<String> {
        let line = |session: &SessionShown| {
            let mark = if session.current { "* " } else { "  " };
            format!(
                "{mark}{}  since {}  until {}  {}",
                session.id, session.created, session.expires, session.device
            )
        };
        self.sessions.iter().map(line).collect()
    }
}

#[derive(Serialize)]
struct Revoked {
    event: &'static str,
    id: String,
}

impl Say for Revoked {
    fn text(&self) -> Option<String> {
        Some(format!("session {} is over", self.id))
    }
}
