//! The streams that the server opens: one of events, and one of the room's group.

use std::sync::Arc;

use confab_e2ee::mls::wire::from_stream;
use confab_protocol::control::framing::{Deframer, StreamKind};
use confab_protocol::control::{MAX_EVENT, MAX_GROUP_MESSAGE};
use confab_protocol::wire;
use prost::Message as _;
use quinn::{RecvStream, VarInt};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::exchange::bad_frame;
use crate::net::ApiError;
use crate::net::event::{GroupMessage, ServerEvent};

/// Length of the queue of events; when it is full the server waits.
pub(super) const EVENT_QUEUE: usize = 1024;

/// Length of the queue of the group's messages.
pub(super) const GROUP_QUEUE: usize = 256;

/// Bytes of the group's messages that are held until the call has taken them; then the server waits.
const MAX_HELD_BYTES: usize = 2 * MAX_GROUP_MESSAGE;

/// Bytes that a message counts for at least.
const LEAST_BYTES: usize = 1024;

/// Streams that a server has open at a time: the two, and others that are stopped.
pub(super) const MAX_STREAMS: u32 = 4;

const UNKNOWN_KIND: VarInt = VarInt::from_u32(0);

const CUT_SHORT: ApiError = ApiError::Malformed("a stream cut short");

enum Step {
    Begun(StreamKind, RecvStream),
    /// A stream of a kind that a later version may have was stopped.
    Stopped,
    /// Nobody reads any more, or the server has finished the stream.
    Ended,
}

/// Reads both streams until one of them ends.
pub(super) async fn read_streams(
    connection: &quinn::Connection,
    events_to: mpsc::Sender<ServerEvent>,
    group_to: mpsc::Sender<GroupMessage>,
) -> Result<(), ApiError> {
    let (mut events_to, mut group_to) = (Some(events_to), Some(group_to));
    let mut running = JoinSet::new();
    loop {
        let step = tokio::select! {
            stream = connection.accept_uni() => {
                running.spawn(begin(stream?));
                continue;
            }
            Some(ended) = running.join_next() => {
                ended.map_err(|error| ApiError::Lost(error.to_string()))??
            }
        };
        let twice = ApiError::Malformed("a second stream of one kind");
        match step {
            Step::Begun(StreamKind::Events, stream) => {
                running.spawn(read_events(stream, events_to.take().ok_or(twice)?));
            }
            Step::Begun(StreamKind::Group, stream) => {
                running.spawn(read_group(stream, group_to.take().ok_or(twice)?));
            }
            Step::Stopped => {}
            Step::Ended => return Ok(()),
        }
    }
}

async fn begin(mut stream: RecvStream) -> Result<Step, ApiError> {
    let mut kind = [0];
    stream.read_exact(&mut kind).await.map_err(|_| CUT_SHORT)?;
    match StreamKind::from_byte(kind[0]) {
        Some(kind) => Ok(Step::Begun(kind, stream)),
        None => {
            // It may have ended already.
            let _ = stream.stop(UNKNOWN_KIND);
            Ok(Step::Stopped)
        }
    }
}

async fn read_events(
    mut stream: RecvStream,
    to: mpsc::Sender<ServerEvent>,
) -> Result<Step, ApiError> {
    let mut deframer = Deframer::new(MAX_EVENT);
    while let Some(event) = next::<wire::Event>(&mut stream, &mut deframer).await? {
        match ServerEvent::parse(&event) {
            Ok(Some(event)) => {
                if to.send(event).await.is_err() {
                    break;
                }
            }
            Ok(None) => {}
            Err(field) => {
                tracing::warn!(%field, "an event that is not what the protocol asks for")
            }
        }
    }
    Ok(Step::Ended)
}

async fn read_group(
    mut stream: RecvStream,
    to: mpsc::Sender<GroupMessage>,
) -> Result<Step, ApiError> {
    let mut deframer = Deframer::new(MAX_GROUP_MESSAGE);
    let places = Arc::new(Semaphore::new(MAX_HELD_BYTES));
    while let Some(message) = next::<wire::ToGroup>(&mut stream, &mut deframer).await? {
        let bytes = message.encoded_len().max(LEAST_BYTES);
        let (conference, join, message) = match from_stream(message) {
            Ok(Some(read)) => read,
            Ok(None) => continue,
            Err(field) => {
                tracing::warn!(%field, "a message of a group that is not what the protocol asks for");
                continue;
            }
        };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Ok(place) = places.clone().acquire_many_owned(bytes).await else {
            break;
        };
        let message = GroupMessage {
            conference,
            join,
            message,
            _place: place,
        };
        if to.send(message).await.is_err() {
            break;
        }
    }
    Ok(Step::Ended)
}

/// The next message; `None` at the stream's end.
async fn next<M: prost::Message + Default>(
    stream: &mut RecvStream,
    deframer: &mut Deframer,
) -> Result<Option<M>, ApiError> {
    loop {
        if let Some(message) = deframer.next().map_err(bad_frame)? {
            return Ok(Some(message));
        }
        match stream.read_chunk(usize::MAX, true).await {
            Ok(Some(chunk)) => deframer.push(&chunk.bytes),
            Ok(None) => return Ok(None),
            Err(error) => return Err(ApiError::Lost(error.to_string())),
        }
    }
}
