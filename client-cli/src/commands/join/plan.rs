//! The times of a call.

use std::time::{Duration, Instant, SystemTime};

use crate::flags::Join;

/// Time between the input's end and leaving, with `--until-end`.
const LINGER: Duration = Duration::from_secs(1);

/// When the call begins, speaks, reports and ends.
pub(super) struct Plan {
    /// The call's start by the monotonic clock, and by the wall clock since 1970.
    start: Instant,
    start_unix: Duration,
    input_at: Instant,
    leave_at: Option<Instant>,
    until_end: bool,
    stats_every: Duration,
    input_ended: bool,
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
            input_ended: false,
        }
    }

    /// The start of the call.
    pub(super) fn start(&self) -> Instant {
        self.start
    }

    /// When the input begins.
    pub(super) fn input_at(&self) -> Instant {
        self.input_at
    }

    /// Time between two `stats` events.
    pub(super) fn stats_every(&self) -> Duration {
        self.stats_every
    }

    /// When the call ends; `None`: not planned.
    pub(super) fn leave_at(&self) -> Option<Instant> {
        self.leave_at
    }

    /// The input ended at `now`: with `--until-end` the call ends 1 s later at the latest.
    pub(super) fn input_ended(&mut self, now: Instant) {
        self.input_ended = true;
        if self.until_end {
            let linger = now + LINGER;
            self.leave_at = Some(self.leave_at.map_or(linger, |at| at.min(linger)));
        }
    }

    /// The reason to leave, once it is time.
    pub(super) fn leave_reason(&self, now: Instant) -> Option<&'static str> {
        let is_time = self.leave_at.is_some_and(|at| now >= at);
        is_time.then_some(match self.until_end && self.input_ended {
            true => "input_ended",
            false => "duration",
        })
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
