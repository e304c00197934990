//! Reads one request from its stream, within the size limit of its kind and a time limit.

use std::time::Duration;

use confab_protocol::control::framing::{Deframer, FrameError};
use confab_protocol::control::size;
use confab_protocol::control::{
    ErrorCode, MAX_COMMIT_REQUEST, MAX_GROUP_MESSAGES, MAX_REQUEST, REQUEST_TIMEOUT_SECONDS,
    Refusal,
};
use confab_protocol::wire::{self, request};
use quinn::RecvStream;
use tokio::sync::OwnedSemaphorePermit;

use super::client::Client;
use crate::clients::share::{MAX_LARGE, MAX_UNFINISHED};
use crate::metrics::connections::Limit;

/// Time limit for a whole request.
const DEADLINE: Duration = Duration::from_secs(REQUEST_TIMEOUT_SECONDS);
/// Retry time for a client whose account has too many incomplete requests: until the oldest of them time out.
const UNFINISHED_RETRY: Duration = DEADLINE;

/// Reads the request on the stream.
pub(super) async fn read(
    receive: &mut RecvStream,
    client: &Client,
) -> Result<request::Kind, Refusal> {
    let _unfinished = match client.entry.share() {
        Some((_, share)) => Some(permit(&share.unfinished, client)?),
        None => None,
    };
    let reading = tokio::time::timeout(DEADLINE, read_whole(receive, client)).await;
    reading.map_err(|_| malformed("the request did not arrive in time"))?
}

async fn read_whole(receive: &mut RecvStream, client: &Client) -> Result<request::Kind, Refusal> {
    let mut deframer = Deframer::new(MAX_COMMIT_REQUEST);
    // Held while a long request is incomplete.
    let mut large: Option<OwnedSemaphorePermit> = None;
    let mut longest = MAX_REQUEST;
    loop {
        if large.is_none()
            && let Some(longest_of_kind) = longest_of_large(&deframer, client)?
        {
            longest = longest_of_kind;
            let share = client.entry.share().map(|(_, share)| share.large.clone());
            let share = share.ok_or_else(|| too_large(MAX_REQUEST))?;
            large = Some(permit(&share, client)?);
            // Last: a refusal for now must not cost the client what it was asked for.
            if longest == MAX_COMMIT_REQUEST && !client.sink.commits.take() {
                return Err(too_large(MAX_REQUEST));
            }
        }
        // A message to a group takes much more memory than bytes on the wire.
        if let Some(whole) = deframer.whole()
            && size::group_messages(whole) > MAX_GROUP_MESSAGES
        {
            return Err(too_many_messages());
        }
        match deframer.next::<wire::Request>() {
            Ok(Some(request)) => {
                deframer
                    .finish()
                    .map_err(|_| malformed("more than one request came on the stream"))?;
                // Consumes the end of the stream if it has arrived, so that no STOP_SENDING is sent.
                let _ = tokio::time::timeout(Duration::ZERO, receive.read_chunk(1, true)).await;
                let kind = request.kind.ok_or_else(unknown)?;
                // With several kinds in one message the last one counts, but the size was checked for the first.
                return match large.is_some() && size::longest(&kind) != longest {
                    true => Err(too_large(MAX_REQUEST)),
                    false => Ok(kind),
                };
            }
            Ok(None) => {}
            Err(FrameError::TooLarge { .. }) => return Err(too_large(MAX_COMMIT_REQUEST)),
            Err(error) => return Err(malformed(&error.to_string())),
        }
        match receive.read_chunk(MAX_REQUEST, true).await {
            Ok(Some(chunk)) => deframer.push(&chunk.bytes),
            Ok(None) => return Err(malformed("the stream ended before the request was whole")),
            Err(_) => return Err(malformed("the stream was reset")),
        }
    }
}

/// How long the request that has begun may be, if it is a long one. Only participants may send one, and one that may have a commit in it only
/// who was asked for a commit.
fn longest_of_large(deframer: &Deframer, client: &Client) -> Result<Option<usize>, Refusal> {
    let Some((len, begun)) = deframer.begun().filter(|(len, _)| *len > MAX_REQUEST) else {
        return Ok(None);
    };
    if !client.has_joined() {
        return Err(too_large(MAX_REQUEST));
    }
    match size::longest_that_begins(begun) {
        Some(longest) if len > longest => Err(too_large(longest)),
        Some(longest) => Ok(Some(longest)),
        None => Ok(None),
    }
}

fn permit(
    of: &std::sync::Arc<tokio::sync::Semaphore>,
    client: &Client,
) -> Result<OwnedSemaphorePermit, Refusal> {
    of.clone().try_acquire_owned().map_err(|_| {
        let refusals = &client.services.metrics.connections.refusals;
        refusals.count(Limit::UnfinishedOfAccount);
        let message = format!(
            "{MAX_UNFINISHED} requests of this account, or {MAX_LARGE} long ones, are not whole yet: finish them first"
        );
        Refusal::new(ErrorCode::Throttled, message).after(UNFINISHED_RETRY)
    })
}

fn unknown() -> Refusal {
    Refusal::new(
        ErrorCode::UnknownRequest,
        "this server does not know this request: it may be older than the client",
    )
}

fn too_large(limit: usize) -> Refusal {
    let message = format!("a request of this kind has {limit} bytes at most");
    Refusal::new(ErrorCode::TooLarge, message)
}

fn too_many_messages() -> Refusal {
    let message = format!("{MAX_GROUP_MESSAGES} messages at most in one request");
    Refusal::invalid("messages", message)
}

fn malformed(why: &str) -> Refusal {
    Refusal::new(
        ErrorCode::Malformed,
        format!("the request cannot be read: {why}"),
    )
}
