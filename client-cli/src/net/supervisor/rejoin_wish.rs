//! The wish for a new join on a connection that stands.

use std::time::{Duration, Instant};

use crate::net::retry::Backoff;

/// A wish for the join anew. It outlives the join that is under way when it comes, which may be answered as things were
/// before, and a join that is refused.
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

    /// When the join is to be tried.
    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// Puts it off after a refusal, which may say for how long at least.
    pub(super) fn put_off(&mut self, least: Option<Duration>) {
        self.at = Instant::now() + self.backoff.wait(least, crate::random::fraction());
    }
}
