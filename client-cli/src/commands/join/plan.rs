//! The times of a call.

use std::time::{Duration, Instant, SystemTime};

use crate::flags::Join;

/// When the call begins, speaks, reports and ends.
pub(super) struct Plan {
    /// The call's start by the monotonic clock, and by the wall clock since 1970.
    pub(super) start: Instant,
    start_unix: Duration,
    pub(super) input_at: Instant,
    pub(super) leave_at: Option<Instant>,
    pub(super) until_end: bool,
    pub(super) stats_every: Duration,
}

impl Plan {
    /// A call that starts at `now`.
    pub(super) fn new(flags: &Join, now: Instant) -> Self {
        let wall = SystemTime::now();
        let since_1970 = wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let wait = match flags.start_at {
            Some(seconds) => Duration::try_from_secs_f64(seconds)
                .unwrap_or(Duration::ZERO)
                .saturating_sub(since_1970),
            None => flags.delay.unwrap_or(Duration::ZERO),
        };
        Self {
            start: now,
            start_unix: since_1970,
            input_at: now.checked_add(wait).unwrap_or(now),
            leave_at: flags
                .duration
                .and_then(|duration| now.checked_add(duration)),
            until_end: flags.until_end,
            stats_every: flags.stats_every,
        }
    }

    /// Nanoseconds since 1970 of a moment of the call.
    pub(super) fn unix_ns(&self, at: Instant) -> u64 {
        let unix = if at >= self.start {
            self.start_unix + at.duration_since(self.start)
        } else {
            self.start_unix
                .saturating_sub(self.start.duration_since(at))
        };
        unix.as_nanos() as u64
    }
}
