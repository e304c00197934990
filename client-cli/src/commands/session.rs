//! Sessions: where the account is logged in.

use confab_protocol::wire::{self, request};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::Serialize;

use super::context::Context;
use super::done::Done;
use crate::failure::Failure;
use crate::flags::Sessions;
use crate::net::Link;
use crate::net::sign_in::Access;
use crate::output::Printed;
use confab_protocol::dates::time;

pub(super) async fn run(context: &Context, command: Sessions) -> Result<(), Failure> {
    match command {
        Sessions::List => list(context).await,
        Sessions::Revoke { id } => revoke(context, &id).await,
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let report = async |_: &Access, link: &Link| {
        let sessions = link.list_sessions().await?;
        Ok(SessionList {
            event: "sessions",
            sessions: sessions.into_iter().map(Into::into).collect(),
        })
    };
    context.signed_in_report(report).await
}

async fn revoke(context: &Context, id: &str) -> Result<(), Failure> {
    let bytes = HEXLOWER_PERMISSIVE
        .decode(id.as_bytes())
        .ok()
        .filter(|bytes| bytes.len() == 16);
    let bytes = bytes.ok_or_else(|| {
        Failure::usage("a session's id has 32 hexadecimal digits: see `confab sessions list`")
    })?;
    let id = id.to_ascii_lowercase();
    let report = async |_: &Access, link: &Link| {
        let request = wire::RevokeSession { id: bytes.into() };
        link.done(request::Kind::RevokeSession(request)).await?;
        let text = format!("session {id} is over");
        Ok(Done::new("session_revoked", text).of_session(id))
    };
    context.signed_in_report(report).await
}

#[derive(Serialize)]
struct SessionList {
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

impl From<wire::Session> for SessionShown {
    fn from(session: wire::Session) -> Self {
        Self {
            id: HEXLOWER.encode(&session.id),
            device: session.device,
            created: time(session.created_ms),
            expires: time(session.expires_ms),
            current: session.current,
        }
    }
}

impl Printed for SessionList {
    fn lines(&self) -> Vec<String> {
        let head = format!("  {:<32}  {:<20}  {:<20}  DEVICE", "ID", "SINCE", "UNTIL");
        let line = |session: &SessionShown| {
            let mark = if session.current { "* " } else { "  " };
            format!(
                "{mark}{}  {}  {}  {}",
                session.id, session.created, session.expires, session.device
            )
        };
        let lines = self.sessions.iter().map(line);
        std::iter::once(head).chain(lines).collect()
    }
}
