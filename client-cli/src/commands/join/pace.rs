//! Blocks by the clock: none lost, none too early, and after a stall no flood.

use std::time::Instant;

use crate::audio::BLOCK_TIME;

/// Most blocks that are made up for at once after a stall: 100 ms.
const MOST_AT_ONCE: u64 = 10;

/// Counts blocks since a start. Block `n` is due when it has passed: `n + 1` block times after the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    start: Instant,
    done: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// Blocks that are too late to be played.
    pub(super) skipped: u64,
    /// Blocks that are due now.
    pub(super) blocks: u64,
    /// The end of the first of them.
    pub(super) first_end: Instant,
}

impl Pace {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, done: 0 }
    }

    /// When the next block is due.
    pub(super) fn next(&self) -> Instant {
        self.end_of(self.done)
    }

    /// Takes the blocks that are due at `now`.
    pub(super) fn take(&mut self, now: Instant) -> Due {
        let passed = now.saturating_duration_since(self.start).as_nanos() / BLOCK_TIME.as_nanos();
        let due = (passed as u64).saturating_sub(self.done);
        let blocks = due.min(MOST_AT_ONCE);
        let skipped = due - blocks;
        let first_end = self.end_of(self.done + skipped);
        self.done += due;
        Due {
            skipped,
            blocks,
            first_end,
        }
    }

    fn end_of(&self, block: u64) -> Instant {
        let blocks = u32::try_from(block + 1).unwrap_or(u32::MAX);
        self.start + BLOCK_TIME * blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn blocks_come_when_they_have_passed_and_never_drift() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut blocks = 0;
        for ms in 0..=10_000 {
            // Woken up at odd times, as a busy machine does.
            if ms % 7 == 0 {
                blocks += pace.take(start + Duration::from_millis(ms)).blocks;
                assert_eq!(blocks, ms / 10);
                assert!(pace.next() > start + Duration::from_millis(ms));
            }
        }
    }

    #[test]
    fn after_a_stall_only_the_newest_are_made_up_for() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let due = pace.take(start + Duration::from_secs(2));
        assert_eq!((due.skipped, due.blocks), (190, 10));
        assert_eq!(due.first_end, start + Duration::from_millis(1910));
        assert_eq!(pace.take(start + Duration::from_secs(2)).blocks, 0);
        assert_eq!(pace.next(), start + Duration::from_millis(2010));
    }
}
