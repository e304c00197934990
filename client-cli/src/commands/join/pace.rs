//! Blocks by the clock: none lost, none too early, and after a stall no flood.

use std::time::{Duration, Instant};

/// The most that is made up for at once after a stall.
const MOST_AT_ONCE: Duration = Duration::from_millis(100);

/// Counts blocks since a start. Block `n` is due when it has passed: `n + 1` block times after the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    start: Instant,
    /// Time that a block lasts.
    block: Duration,
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
    /// Blocks that last so long each, from `start` on.
    pub(super) fn new(start: Instant, block: Duration) -> Self {
        Self {
            start,
            block,
            done: 0,
        }
    }

    /// All further blocks come so many seconds later, or earlier where that is less than none.
    pub(super) fn shift(&mut self, seconds: f64) {
        let by = Duration::try_from_secs_f64(seconds.abs()).unwrap_or_default();
        let start = match seconds < 0.0 {
            true => self.start.checked_sub(by),
            false => self.start.checked_add(by),
        };
        self.start = start.unwrap_or(self.start);
    }

    /// When the next block is due.
    pub(super) fn next(&self) -> Instant {
        self.end_of(self.done)
    }

    /// Takes the blocks that are due at `now`.
    pub(super) fn take(&mut self, now: Instant) -> Due {
        let passed = now.saturating_duration_since(self.start).as_nanos() / self.block.as_nanos();
        let due = (passed as u64).saturating_sub(self.done);
        let most = MOST_AT_ONCE.as_nanos() / self.block.as_nanos();
        let blocks = due.min(most as u64);
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
        self.start + self.block * blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{BLOCK_TIME, MIX_TIME};

    #[test]
    fn blocks_come_when_they_have_passed_and_never_drift() {
        let start = Instant::now();
        let mut pace = Pace::new(start, BLOCK_TIME);
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
        let mut pace = Pace::new(start, BLOCK_TIME);
        let due = pace.take(start + Duration::from_secs(2));
        assert_eq!((due.skipped, due.blocks), (190, 10));
        assert_eq!(due.first_end, start + Duration::from_millis(1910));
        assert_eq!(pace.take(start + Duration::from_secs(2)).blocks, 0);
        assert_eq!(pace.next(), start + Duration::from_millis(2010));
    }

    #[test]
    fn blocks_that_are_shifted_come_later_or_earlier_and_none_is_left_out() {
        let start = Instant::now();
        let mut pace = Pace::new(start, MIX_TIME);
        let mut blocks = 0;
        for ms in 0..=10_000 {
            let now = start + Duration::from_millis(ms);
            blocks += pace.take(now).blocks;
            // By 1 ms a second, there and back.
            pace.shift(if ms < 5000 { 1e-6 } else { -1e-6 });
            assert!(pace.next() + MIX_TIME > now && pace.next() <= now + 2 * MIX_TIME);
        }
        assert_eq!(blocks, 2000);
    }
}
