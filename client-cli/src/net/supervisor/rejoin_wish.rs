//! The wish for a new join on a connection that stands.

use std::time::{Duration, Instant};

use crate::net::retry::Backoff;

/// The wish to resume the join. It stays when a running join ends, whose answer may be older than the wish, and when a join
/// is refused.
pub(super) struct RejoinWish {
    at: Instant,
    backoff: Backoff,
}

impl RejoinWish {
    pub(super) fn now() -> Self {
        Self {
            at: Instant::now(),
            backoff: Backoff::new(),
        }
    }

    /// When to try the join.
    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// Delays the next attempt after a refusal, by `least` at the least.
    pub(super) fn put_off(&mut self, least: Option<Duration>) {
        self.at = Instant::now() + self.backoff.wait(least, crate::random::fraction());
    }
}
