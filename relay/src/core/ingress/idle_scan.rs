//! When the sessions of a worker are checked for an answer of their paths.

use std::time::{Duration, Instant};

/// Each slot is checked once in this time.
const SCAN_PERIOD: Duration = Duration::from_secs(1);
/// Parts of a scan, so that no round has all of its work.
const SCAN_PARTS: u32 = 10;
/// If the worker itself did nothing for this time, that time counts for no client's silence.
const STALL: Duration = Duration::from_secs(2);

/// The state of the scan.
pub(super) struct IdleScan {
    /// When the next part is due.
    at: Instant,
    part: u32,
}

/// A part of the scan that is due.
pub(super) struct DuePart {
    part: u32,
    /// How long the worker stood still, if it did: a paused machine, or a clock that jumped.
    pub(super) stall: Option<Duration>,
}

impl IdleScan {
    pub(super) fn new(now: Instant) -> Self {
        Self { at: now, part: 0 }
    }

    /// The part that is due at `now`.
    pub(super) fn begin(&mut self, now: Instant) -> Option<DuePart> {
        let late = now.checked_duration_since(self.at)?;
        let due = DuePart {
            part: self.part,
            stall: (late >= STALL).then_some(late),
        };
        self.at = now + SCAN_PERIOD / SCAN_PARTS;
        self.part = (self.part + 1) % SCAN_PARTS;
        Some(due)
    }
}

impl DuePart {
    /// The slots of this part, of a table of `len`.
    pub(super) fn slots(&self, len: usize) -> impl Iterator<Item = u32> + use<> {
        (self.part..len as u32).step_by(SCAN_PARTS as usize)
    }
}
