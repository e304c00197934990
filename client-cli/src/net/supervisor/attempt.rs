//! An attempt to come back, which requests of the call may interrupt.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::messages::CallRequest;
use super::rejoin_wish::RejoinWish;

/// The result of an attempt to come back.
pub(super) enum AttemptOutcome<T> {
    Ended(T),
    /// The network works again: try again at once.
    Again,
    /// The call leaves the room.
    Unwanted,
}

/// Waits for `attempt`, unless a request of the call interrupts it. An attempt older than `stale_after` is repeated when the
/// network works again; `None`: never.
pub(super) async fn interruptible<T>(
    (requests, wish): (
        &mut mpsc::UnboundedReceiver<CallRequest>,
        &mut Option<RejoinWish>,
    ),
    attempt: impl Future<Output = T>,
    stale_after: Option<Duration>,
) -> AttemptOutcome<T> {
    let begun = Instant::now();
    tokio::pin!(attempt);
    loop {
        tokio::select! {
            result = &mut attempt => return AttemptOutcome::Ended(result),
            request = requests.recv() => match request {
                Some(CallRequest::NetworkChanged | CallRequest::NetworkBack | CallRequest::Woke(_))
                    if stale_after.is_some_and(|stale| begun.elapsed() >= stale) => return AttemptOutcome::Again,
                Some(CallRequest::Resume) => *wish = Some(RejoinWish::now()),
                // Reports are dropped: the next join says whether a relay answers, and the member repeats its messages.
                Some(
                    CallRequest::NetworkChanged
                    | CallRequest::NetworkBack
                    | CallRequest::Woke(_)
                    | CallRequest::Report(_)
                    | CallRequest::ReportFrames(..)
                    | CallRequest::Group(..),
                ) => {}
                // The relay hears the goodbye, and control of it from the relay.
                Some(CallRequest::Leave(_)) | None => return AttemptOutcome::Unwanted,
            },
        }
    }
}
