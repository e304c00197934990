//! The highest fence of each conference: commands under a lower one, by an earlier owner, are refused.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use confab_protocol::cluster::Fence;
use confab_protocol::control::ConferenceId;
use foldhash::quality::RandomState;

/// The highest fence of a conference without a room here is remembered for this time at least, unless there are too many.
pub(super) const FENCE_MEMORY: Duration = Duration::from_secs(600);

/// Fences of conferences without a room that are remembered, at most. More push the oldest out.
pub(super) const MAX_IDLE_FENCES: usize = 100_000;

/// Fences in two generations: a fence that was not used in the time of the younger one is dropped with the older one.
pub(super) struct Fences {
    /// Entries of a generation at which the next one begins.
    limit: usize,
    began: Option<Instant>,
    young: Generation,
    old: Generation,
}

type Generation = HashMap<ConferenceId, Fence, RandomState>;

impl Fences {
    /// Remembers the fences of `rooms` and [`MAX_IDLE_FENCES`] more.
    pub(super) fn new(rooms: usize) -> Self {
        Self {
            limit: rooms.saturating_add(MAX_IDLE_FENCES),
            began: None,
            young: Generation::default(),
            old: Generation::default(),
        }
    }

    /// True if a command under `fence` is to be carried out. From then on none under a lower fence is.
    ///
    /// The fence of a conference that `is_live` is never forgotten.
    pub(super) fn pass(
        &mut self,
        now: Instant,
        conference: ConferenceId,
        fence: Fence,
        is_live: impl Fn(&ConferenceId) -> bool,
    ) -> bool {
        if let Some(seen) = self.young.get_mut(&conference) {
            let passes = fence >= *seen;
            *seen = fence.max(*seen);
            return passes;
        }
        let seen = self.old.get(&conference);
        if seen.is_some_and(|seen| fence < *seen) {
            return false;
        }
        if self.young.len() >= self.limit {
            self.begin_generation(now, is_live);
        }
        self.young.insert(conference, fence);
        true
    }

    /// Forgets fences that were not used for [`FENCE_MEMORY`]. To be called about every minute.
    pub(super) fn sweep(&mut self, now: Instant, is_live: impl Fn(&ConferenceId) -> bool) {
        let began = *self.began.get_or_insert(now);
        if now.saturating_duration_since(began) >= FENCE_MEMORY {
            self.begin_generation(now, is_live);
        }
    }

    fn begin_generation(&mut self, now: Instant, is_live: impl Fn(&ConferenceId) -> bool) {
        let before = std::mem::take(&mut self.young);
        let mut lost = std::mem::replace(&mut self.old, before);
        lost.retain(|conference, _| is_live(conference) && !self.old.contains_key(conference));
        self.old.extend(lost);
        self.began = Some(now);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conference(n: u32) -> ConferenceId {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        ConferenceId::new(id)
    }

    fn era(era: u64) -> Fence {
        Fence { era, placement: 0 }
    }

    #[test]
    fn a_lower_fence_is_refused_for_ten_minutes_and_forgotten_later() {
        let start = Instant::now();
        let mut fences = Fences::new(10);
        let nobody = |_: &ConferenceId| false;
        fences.sweep(start, nobody);
        assert!(fences.pass(start, conference(1), era(5), nobody));
        for minutes in 1..=10 {
            let now = start + Duration::from_secs(60) * minutes;
            assert!(!fences.pass(now, conference(1), era(4), nobody));
            fences.sweep(now, nobody);
        }
        let later = start + 2 * FENCE_MEMORY;
        fences.sweep(later, nobody);
        assert!(fences.pass(later, conference(1), era(4), nobody));
        assert_eq!(fences.len(), 1);
    }

    #[test]
    fn a_live_rooms_fence_is_never_forgotten() {
        let start = Instant::now();
        let mut fences = Fences::new(10);
        let is_live = |id: &ConferenceId| *id == conference(1);
        assert!(fences.pass(start, conference(1), era(5), is_live));
        for hour in 0..24 {
            fences.sweep(start + Duration::from_secs(3600) * hour, is_live);
        }
        assert!(!fences.pass(start, conference(1), era(4), is_live));
    }

    #[test]
    fn a_flood_of_conferences_takes_bounded_memory_and_no_live_rooms_fence() {
        let now = Instant::now();
        let mut fences = Fences::new(10);
        let is_live = |id: &ConferenceId| *id == conference(0);
        assert!(fences.pass(now, conference(0), era(5), is_live));
        for n in 1..500_000 {
            assert!(fences.pass(now, conference(n), era(1), is_live));
        }
        assert!(fences.len() <= 2 * (10 + MAX_IDLE_FENCES) + 1);
        assert!(!fences.pass(now, conference(0), era(4), is_live));
        assert!(!fences.pass(now, conference(499_999), era(0), is_live));
    }
}
