//! The connection of one relay: its hello, then commands to it and messages from it, until either side closes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use confab_protocol::cluster::{
    BootId, CommandResult, MAX_IDLE_TIMEOUT, MAX_LIVE_ROOMS, MAX_MESSAGE, SILENT_AFTER_MS,
};
use confab_protocol::control::framing::{self, Deframer};
use confab_protocol::control::room::{BadField, MAX_ADDRESSES};
use confab_protocol::control::{ConferenceId, Region};
use confab_protocol::media::{ConnectionId, IDLE_TIMEOUT_SECONDS};
use confab_protocol::version::{self, NoCommonVersion, VersionRange};
use confab_protocol::wire::{self, relay_to_control::Kind};
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::mpsc;

use super::events::RelayEvent;
use super::registry::{Linked, Relays};
use super::relay::{LimitExceeded, LinkRefused, RelayInfo};
use crate::AGENT;
use crate::close;
use crate::domain::RelayName;

/// Time limit for the relay's hello.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// A relay is marked silent after this time without a message.
const SILENT_AFTER: Duration = Duration::from_millis(SILENT_AFTER_MS);
/// The link is closed after this time without a message.
const SILENCE: Duration = Duration::from_secs(3);
/// Maximum number of commands that wait to be written to the stream.
const QUEUE: usize = 8192;

#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("no hello within {} s", HELLO_DEADLINE.as_secs())]
    NoHello,
    #[error("no message for {} s", SILENCE.as_secs())]
    Silent,
    #[error("too slow to read its commands")]
    Closed,
    #[error(transparent)]
    Version(#[from] NoCommonVersion),
    #[error(transparent)]
    Field(#[from] BadField),
    #[error(transparent)]
    LimitExceeded(#[from] LimitExceeded),
    #[error(transparent)]
    Refused(#[from] LinkRefused),
    #[error("unexpected message")]
    OutOfOrder,
    #[error(transparent)]
    Frame(#[from] framing::FrameError),
    #[error("the stream ended")]
    StreamEnded,
    #[error("the connection was lost")]
    Lost,
}

/// Serves a relay's connection until the link ends, then closes it.
pub async fn serve(connection: Connection, name: RelayName, relays: Relays) {
    let error = match greet(&connection, &name, &relays).await {
        Ok((linked, send, messages, queue)) => {
            let error = run(&linked, send, queue, messages).await;
            close::BAD_LINK.close(&connection);
            match linked.is_newest() {
                true => tracing::warn!(relay = %name, reason = %error, "relay unlinked"),
                // As when its addresses have changed.
                false => tracing::info!(relay = %name, "a newer link has replaced an older one"),
            }
            return;
        }
        Err(error) => error,
    };
    tracing::warn!(relay = %name, reason = %error, "relay link refused");
    match error {
        LinkError::Refused(refused @ LinkRefused::NameInUse { .. }) => {
            close::NAME_IN_USE.close_saying(&connection, &refused.to_string());
        }
        _ => close::BAD_LINK.close(&connection),
    }
}

type Greeted = (Linked, SendStream, Messages, mpsc::Receiver<Bytes>);

/// Reads the relay's hello, registers the link, and answers.
async fn greet(
    connection: &Connection,
    name: &RelayName,
    relays: &Relays,
) -> Result<Greeted, LinkError> {
    let greeting = async {
        let (mut send, recv) = connection.accept_bi().await.map_err(|_| LinkError::Lost)?;
        let mut messages = Messages {
            recv,
            deframer: Deframer::new(MAX_MESSAGE),
        };
        let Kind::Hello(hello) = messages.next().await? else {
            return Err(LinkError::OutOfOrder);
        };
        let version = version::CONTROL.negotiate(hello.min_version, hello.max_version)?;
        let info = parse_hello(&hello)?;
        let (out, queue) = mpsc::channel(QUEUE);
        let sessions = info.max_sessions;
        let linked = relays.link(name.clone(), info, out)?;
        tracing::info!(relay = %name, sessions, "relay linked");
        let answer = wire::ControlHello {
            version,
            agent: AGENT.to_owned(),
        };
        let kind = wire::control_to_relay::Kind::Hello(answer);
        let bytes = framing::encode(&wire::ControlToRelay { kind: Some(kind) });
        send.write_chunk(bytes).await.map_err(|_| LinkError::Lost)?;
        Ok((linked, send, messages, queue))
    };
    let greeted = tokio::time::timeout(HELLO_DEADLINE, greeting).await;
    greeted.map_err(|_| LinkError::NoHello)?
}

fn parse_hello(hello: &wire::RelayHello) -> Result<RelayInfo, BadField> {
    let parse = |address: &String| {
        address
            .parse::<SocketAddr>()
            .map_err(|_| BadField("addresses"))
    };
    if hello.addresses.is_empty() || hello.addresses.len() > MAX_ADDRESSES {
        return Err(BadField("addresses"));
    }
    Ok(RelayInfo {
        boot: BootId::parse(&hello.boot_id)?,
        region: Region::parse(&hello.region).map_err(|_| BadField("region"))?,
        addresses: hello
            .addresses
            .iter()
            .map(parse)
            .collect::<Result<_, _>>()?,
        max_sessions: hello.max_sessions,
        media: VersionRange::media_from_wire(hello.min_media_version, hello.max_media_version)
            .ok_or(BadField("max_media_version"))?,
        idle_timeout: idle_timeout(hello.idle_timeout_ms)?,
    })
}

/// Parses the idle timeout; 0 means the default of the protocol.
fn idle_timeout(milliseconds: u32) -> Result<Duration, BadField> {
    if milliseconds == 0 {
        return Ok(Duration::from_secs(IDLE_TIMEOUT_SECONDS));
    }
    Some(Duration::from_millis(milliseconds.into()))
        .filter(|timeout| *timeout <= MAX_IDLE_TIMEOUT)
        .ok_or(BadField("idle_timeout_ms"))
}

async fn run(
    linked: &Linked,
    send: SendStream,
    queue: mpsc::Receiver<Bytes>,
    messages: Messages,
) -> LinkError {
    tokio::select! {
        error = read(linked, messages) => error,
        error = write(send, queue) => error,
        () = linked.closed() => LinkError::Closed,
    }
}

async fn read(linked: &Linked, mut messages: Messages) -> LinkError {
    loop {
        let message = match next(linked, &mut messages).await {
            Ok(message) => message,
            Err(error) => return error,
        };
        let taken = match message {
            Kind::Hello(_) => Err(LinkError::OutOfOrder),
            // Keep-alive: its arrival is its only content.
            Kind::Alive(wire::Alive {}) => Ok(()),
            Kind::Load(load) => {
                linked.report(&load);
                Ok(())
            }
            Kind::Result(result) => CommandResult::try_from(&result)
                .map(|result| linked.result(result))
                .map_err(LinkError::from),
            Kind::LiveRooms(rooms) => live_rooms(linked, &rooms),
            Kind::MediaEnded(ended) => media_ended(linked, &ended),
        };
        if let Err(error) = taken {
            return error;
        }
    }
}

/// The next message. A relay sends messages at short intervals. Without one for `SILENT_AFTER` the relay is marked silent, after
/// `SILENCE` the link ends.
async fn next(linked: &Linked, messages: &mut Messages) -> Result<Kind, LinkError> {
    if let Ok(message) = tokio::time::timeout(SILENT_AFTER, messages.next()).await {
        return message;
    }
    linked.mark_silent();
    let message = tokio::time::timeout(SILENCE - SILENT_AFTER, messages.next()).await;
    let message = message.map_err(|_| LinkError::Silent)??;
    linked.mark_responsive();
    Ok(message)
}

fn live_rooms(linked: &Linked, rooms: &wire::LiveRooms) -> Result<(), LinkError> {
    if rooms.conference_ids.len() > MAX_LIVE_ROOMS {
        return Err(BadField("conference_ids").into());
    }
    let parse = |id: &Bytes| ConferenceId::parse(id, "conference_ids");
    let conferences: Vec<_> = rooms
        .conference_ids
        .iter()
        .map(parse)
        .collect::<Result<_, _>>()?;
    Ok(linked.live_rooms(&conferences)?)
}

fn media_ended(linked: &Linked, ended: &wire::MediaEnded) -> Result<(), LinkError> {
    let conference = ConferenceId::parse(&ended.conference_id, "conference_id")?;
    let connection_id = ended.connection_id.as_ref().try_into();
    let event = RelayEvent::MediaEnded {
        sender: u16::try_from(ended.sender).map_err(|_| BadField("sender"))?,
        connection_id: connection_id
            .map(ConnectionId::from_bytes)
            .map_err(|_| BadField("connection_id"))?,
        reason: ended.reason(),
    };
    Ok(linked.notify_room(conference, event)?)
}

async fn write(mut send: SendStream, mut queue: mpsc::Receiver<Bytes>) -> LinkError {
    while let Some(bytes) = queue.recv().await {
        if send.write_chunk(bytes).await.is_err() {
            return LinkError::Lost;
        }
    }
    LinkError::Closed
}

/// The relay's messages in order. Skips kinds that this version does not know.
struct Messages {
    recv: RecvStream,
    deframer: Deframer,
}

impl Messages {
    async fn next(&mut self) -> Result<Kind, LinkError> {
        loop {
            while let Some(message) = self.deframer.next::<wire::RelayToControl>()? {
                if let Some(kind) = message.kind {
                    return Ok(kind);
                }
            }
            match self.recv.read_chunk(MAX_MESSAGE, true).await {
                Ok(Some(chunk)) => self.deframer.push(&chunk.bytes),
                Ok(None) => {
                    self.deframer.finish()?;
                    return Err(LinkError::StreamEnded);
                }
                Err(_) => return Err(LinkError::Lost),
            }
        }
    }
}
