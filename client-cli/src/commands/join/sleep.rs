//! Notices that the program or the machine slept: nothing ran, and the network's other ends have gone on without it.

use std::time::{Duration, Instant, SystemTime};

/// Time between two looks at the clocks, at most.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Clocks that went on by so much more than they should have tell of a sleep, and less of a busy machine.
const SLEPT: Duration = Duration::from_secs(2);

/// Two clocks: the monotonic one counts while the program is stopped, and on many systems only the wall clock counts
/// while the machine is suspended. A wall clock that is set anew looks like a sleep; that costs a few datagrams.
#[derive(Debug)]
pub(super) struct Clocks {
    monotonic: Instant,
    wall: SystemTime,
}

impl Clocks {
    pub(super) fn new(monotonic: Instant, wall: SystemTime) -> Self {
        Self { monotonic, wall }
    }

    /// To be called each [`CHECK_INTERVAL`] at least: how long nothing ran, if that was a sleep.
    pub(super) fn check(&mut self, monotonic: Instant, wall: SystemTime) -> Option<Duration> {
        let counted = monotonic.saturating_duration_since(self.monotonic);
        // A clock that was set back tells nothing.
        let passed = wall.duration_since(self.wall).unwrap_or_default();
        (self.monotonic, self.wall) = (monotonic, wall);
        let slept = counted.max(passed);
        (slept >= CHECK_INTERVAL + SLEPT).then_some(slept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_stopped_program_and_a_suspended_machine_are_noticed_once_each() {
        let (start, wall) = (Instant::now(), SystemTime::now());
        let mut clocks = Clocks::new(start, wall);
        assert_eq!(
            clocks.check(start + CHECK_INTERVAL, wall + CHECK_INTERVAL),
            None
        );
        // A busy machine.
        assert_eq!(clocks.check(start + 2 * SECOND, wall + 2 * SECOND), None);
        // Stopped: both clocks went on.
        let (monotonic, wall) = (start + 300 * SECOND, wall + 300 * SECOND);
        assert_eq!(clocks.check(monotonic, wall), Some(298 * SECOND));
        assert_eq!(
            clocks.check(monotonic + CHECK_INTERVAL, wall + CHECK_INTERVAL),
            None
        );
        // Suspended: only the wall clock did.
        let slept = clocks.check(monotonic + 2 * CHECK_INTERVAL, wall + 100 * SECOND);
        assert_eq!(slept, Some(100 * SECOND - CHECK_INTERVAL));
    }

    #[test]
    fn a_clock_that_is_set_back_is_no_sleep() {
        let (start, wall) = (Instant::now(), SystemTime::now());
        let mut clocks = Clocks::new(start, wall);
        assert_eq!(
            clocks.check(start + CHECK_INTERVAL, wall - 3600 * SECOND),
            None
        );
        assert_eq!(
            clocks.check(
                start + 2 * CHECK_INTERVAL,
                wall - 3600 * SECOND + CHECK_INTERVAL
            ),
            None
        );
    }
}
