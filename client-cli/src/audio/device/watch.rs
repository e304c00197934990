//! Watches the progress of an open stream: a device may open and never call back, or stop without an error.

use std::time::{Duration, Instant};

/// A stream may be still for so long ...
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// ... and for so many of its periods.
const PATIENCE_PERIODS: u32 = 20;

/// Callbacks after which a stream is taken to move: devices ask for a buffer or two when they begin, and may stop there.
const MOVES_AFTER: u64 = 4;

/// A stream may be ahead of the clock by so much, as after a stall that it makes up for. One that is further ahead does
/// not keep time.
const MOST_AHEAD: Duration = Duration::from_secs(10);

/// How a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Motion {
    /// Just opened: it may begin any moment.
    Waiting,
    Moving,
    /// No callback has come, or callbacks have stopped.
    Still,
    /// Callbacks come faster than real time.
    Racing,
}

#[derive(Debug, Clone, Copy)]
pub struct Watch {
    patience: Duration,
    rate: u32,
    opened: Instant,
    calls: u64,
    last_call: Instant,
    racing: bool,
}

impl Watch {
    /// A stream that was opened at `now`, with periods of this length at `rate` frames a second.
    pub fn new(now: Instant, period: Duration, rate: u32) -> Self {
        Self {
            patience: LEAST_PATIENCE.max(period * PATIENCE_PERIODS),
            rate: rate.max(1),
            opened: now,
            calls: 0,
            last_call: now,
            racing: false,
        }
    }

    /// The stream had so many callbacks and moved so many frames since it was opened.
    pub fn observe(&mut self, now: Instant, calls: u64, frames: u64) {
        if calls != self.calls {
            (self.calls, self.last_call) = (calls, now);
        }
        let most = now.saturating_duration_since(self.opened) + MOST_AHEAD;
        self.racing = frames as f64 > most.as_secs_f64() * f64::from(self.rate);
    }

    /// This program did not run for a while, so nothing that it did not see counts against the device.
    pub fn extend_deadlines(&mut self, now: Instant) {
        self.last_call = now;
    }

    /// How the stream is at `now`.
    pub fn motion(&self, now: Instant) -> Motion {
        let still = now.saturating_duration_since(self.last_call) >= self.patience;
        match (self.racing, still) {
            (true, _) => Motion::Racing,
            (_, true) => Motion::Still,
            _ if self.calls < MOVES_AFTER => Motion::Waiting,
            _ => Motion::Moving,
        }
    }

    /// When the last callback was seen.
    pub fn last_call(&self) -> Instant {
        self.last_call
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(10);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_stream_that_never_moves_and_one_that_stops_are_still_after_a_second() {
        let start = Instant::now();
        let mut watch = Watch::new(start, PERIOD, 48_000);
        assert_eq!(watch.motion(start + ms(999)), Motion::Waiting);
        assert_eq!(watch.motion(start + ms(1000)), Motion::Still);
        // A device's buffer was filled, and then nothing more.
        watch.observe(start + ms(1100), 2, 960);
        assert_eq!(watch.motion(start + ms(1200)), Motion::Waiting);
        assert_eq!(watch.motion(start + ms(2100)), Motion::Still);
        watch.observe(start + ms(3000), 4, 1920);
        assert_eq!(watch.motion(start + ms(3000)), Motion::Moving);
        assert_eq!(watch.motion(start + ms(4000)), Motion::Still);
    }

    #[test]
    fn long_periods_get_more_patience() {
        let start = Instant::now();
        let watch = Watch::new(start, ms(170), 48_000);
        assert_eq!(watch.motion(start + ms(3399)), Motion::Waiting);
        assert_eq!(watch.motion(start + ms(3400)), Motion::Still);
    }

    #[test]
    fn time_without_observation_does_not_count_against_the_device() {
        let start = Instant::now();
        let mut watch = Watch::new(start, PERIOD, 48_000);
        watch.observe(start + ms(100), 10, 4800);
        watch.extend_deadlines(start + ms(3100));
        assert_eq!(watch.motion(start + ms(3100)), Motion::Moving);
        assert_eq!(watch.motion(start + ms(4100)), Motion::Still);
    }

    #[test]
    fn a_device_without_a_pace_is_told_from_one_that_makes_up_for_a_stall() {
        let start = Instant::now();
        let mut watch = Watch::new(start, PERIOD, 48_000);
        // Nothing for 8 s, and then everything within 100 ms.
        watch.observe(start + ms(8100), 810, 8 * 48_000);
        assert_eq!(watch.motion(start + ms(8100)), Motion::Moving);
        let mut null = Watch::new(start, PERIOD, 48_000);
        null.observe(start + ms(50), 5000, 5000 * 480);
        assert_eq!(null.motion(start + ms(50)), Motion::Racing);
    }
}
