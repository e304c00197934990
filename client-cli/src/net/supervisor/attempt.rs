//! An attempt to come back, which what the call asks for may interrupt.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::Ask;
use super::rejoin_wish::RejoinWish;

/// What a try to come back came to.
pub(super) enum Tried<T> {
    Ended(T),
    /// The network is back: try once more, now.
    Again,
    /// Nobody wants it any more.
    Unwanted,
}

/// Waits for `attempt`, unless somebody wants it otherwise meanwhile. `stale_after` is when a network that is back makes
/// a new try better than an old one; none: never.
pub(super) async fn tried<T>(
    (asks, wish): (&mut mpsc::UnboundedReceiver<Ask>, &mut Option<RejoinWish>),
    attempt: impl Future<Output = T>,
    stale_after: Option<Duration>,
) -> Tried<T> {
    let begun = Instant::now();
    tokio::pin!(attempt);
    loop {
        tokio::select! {
            result = &mut attempt => return Tried::Ended(result),
            ask = asks.recv() => match ask {
                Some(Ask::NetworkChanged | Ask::NetworkBack | Ask::Woke(_))
                    if stale_after.is_some_and(|stale| begun.elapsed() >= stale) => return Tried::Again,
                Some(Ask::Resume) => *wish = Some(RejoinWish::now()),
                // What there is to report, the join that is on its way tells too.
                Some(
                    Ask::NetworkChanged
                    | Ask::NetworkBack
                    | Ask::Woke(_)
                    | Ask::Report(_)
                    | Ask::ReportFrames(..),
                ) => {}
                // The relay hears the goodbye, and control of it from the relay.
                Some(Ask::Leave(_)) | None => return Tried::Unwanted,
            },
        }
    }
}
