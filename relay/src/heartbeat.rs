//! The progress of worker threads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A worker that has made no progress for this time is stuck. An idle worker makes some every 100 ms.
pub const STUCK_AFTER: Duration = Duration::from_secs(5);

/// The time at which a worker's thread made progress last.
pub struct Heartbeat {
    start: Instant,
    /// Since `start`, in milliseconds.
    last: AtomicU64,
}

impl Heartbeat {
    /// A worker that starts now.
    pub fn new(start: Instant) -> Self {
        Self {
            start,
            last: AtomicU64::new(0),
        }
    }

    /// The worker makes progress.
    pub fn beat(&self, now: Instant) {
        let since_start = now.saturating_duration_since(self.start);
        self.last.store(since_start.as_millis() as u64, Relaxed);
    }

    /// True if the worker has made no progress for over [`STUCK_AFTER`].
    pub fn is_stuck(&self, now: Instant) -> bool {
        let last = Duration::from_millis(self.last.load(Relaxed));
        now.saturating_duration_since(self.start)
            .saturating_sub(last)
            > STUCK_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_without_rounds_is_stuck_and_one_with_rounds_is_not() {
        let start = Instant::now();
        let heart = Heartbeat::new(start);
        assert!(!heart.is_stuck(start + STUCK_AFTER));
        assert!(heart.is_stuck(start + STUCK_AFTER + Duration::from_millis(1)));
        let later = start + Duration::from_secs(60);
        heart.beat(later);
        assert!(!heart.is_stuck(later + STUCK_AFTER));
        assert!(heart.is_stuck(later + 2 * STUCK_AFTER));
    }
}
