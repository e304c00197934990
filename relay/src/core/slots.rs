//! The free slots of a worker.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use confab_protocol::media::connection_id::{MAX_SLOTS, SLOT_REUSE_SECONDS};

/// Assigns slots. A slot is not assigned again for [`SLOT_REUSE_SECONDS`], so that late datagrams reach no other session.
#[derive(Debug)]
pub(super) struct Slots {
    /// Slots that there may be, used and resting.
    limit: u32,
    resting: VecDeque<(Instant, u32)>,
    /// Slots from here on were never assigned.
    fresh: u32,
    used: u32,
}

impl Slots {
    /// `limit` free slots, [`MAX_SLOTS`] at most.
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit: limit.min(MAX_SLOTS),
            resting: VecDeque::new(),
            fresh: 0,
            used: 0,
        }
    }

    /// A free slot; `None` when all are used or resting.
    pub(super) fn take(&mut self, now: Instant) -> Option<u32> {
        let rest = Duration::from_secs(SLOT_REUSE_SECONDS);
        let is_rested = |(since, _): &(Instant, u32)| now.saturating_duration_since(*since) >= rest;
        let slot = if self.resting.front().is_some_and(is_rested) {
            let (_, slot) = self.resting.pop_front()?;
            slot
        } else if self.fresh < self.limit {
            self.fresh += 1;
            self.fresh - 1
        } else {
            return None;
        };
        self.used += 1;
        Some(slot)
    }

    /// Takes a slot back.
    pub(super) fn give(&mut self, now: Instant, slot: u32) {
        self.used = self.used.saturating_sub(1);
        self.resting.push_back((now, slot));
    }

    /// Slots that are given out.
    pub(super) fn used(&self) -> u32 {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_not_assigned_again_for_a_minute() {
        let start = Instant::now();
        let mut slots = Slots::new(2);
        assert_eq!(slots.take(start), Some(0));
        slots.give(start, 0);
        let soon = start + Duration::from_secs(SLOT_REUSE_SECONDS - 1);
        assert_eq!(slots.take(soon), Some(1));
        assert_eq!(slots.take(soon), None, "there are two");
        let later = start + Duration::from_secs(SLOT_REUSE_SECONDS);
        assert_eq!(slots.take(later), Some(0));
        assert_eq!(slots.used(), 2);
    }
}
