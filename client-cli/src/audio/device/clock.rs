//! Keeps what is resampled between a device and the call at one delay, whatever their clocks differ by.
//!
//! The speed is what the clocks differ by, and a little more or less while the delay is not what it should be. So nothing is ever cut out
//! or put in while both go on.

use std::time::{Duration, Instant};

use super::drift::Drift;

/// The shortest delay within this time is the one that counts: a callback may be late, never early.
const WINDOW: Duration = Duration::from_secs(1);

/// What is done about a delay that is not the wanted one, by the second: 1 ms changes the speed by 50 ppm. Beyond the second
/// value, in seconds, it is eight times as much: that is the end of a stall, or a clock that is not known yet.
const GAIN: f64 = 0.05;
const FAR: f64 = 0.003;
const FAR_GAIN: f64 = 0.4;

/// Clocks differ by this share at most; real ones by a tenth of it.
const MOST_DRIFT: f64 = 0.0025;

/// The speed differs by this share at most: a twelfth of a semitone.
const MOST_SPEED: f64 = 0.005;

/// The clock of one stream.
#[derive(Debug)]
pub struct StreamClock {
    drift: Drift,
    /// How much faster than this machine's the device's clock is, as a share, and what is missing to the wanted delay.
    fast: f64,
    nudge: f64,
    window: Option<Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    ends: Instant,
    shortest: f64,
}

impl StreamClock {
    /// Of a stream of `rate` frames a second.
    pub fn new(rate: u32) -> Self {
        Self {
            drift: Drift::new(rate),
            fast: 0.0,
            nudge: 0.0,
            window: None,
        }
    }

    /// A callback at `at` moved so many frames.
    pub fn called(&mut self, at: Instant, frames: usize) {
        self.drift.add(at, frames);
    }

    /// A delay, in seconds, as it was at a callback. Gives the shortest one of each second.
    pub fn measure(&mut self, at: Instant, delay: f64) -> Option<f64> {
        let window = self.window.get_or_insert(Window {
            ends: at + WINDOW,
            shortest: delay,
        });
        window.shortest = window.shortest.min(delay);
        if at < window.ends {
            return None;
        }
        if let Some(ppm) = self.drift.ppm() {
            self.fast = (ppm * 1e-6).clamp(-MOST_DRIFT, MOST_DRIFT);
        }
        self.window.take().map(|window| window.shortest)
    }

    /// The delay is so many seconds longer than wanted: it is to become shorter.
    pub fn steer(&mut self, excess: f64) {
        let near = excess.clamp(-FAR, FAR);
        self.nudge = GAIN * near + FAR_GAIN * (excess - near);
    }

    /// Forgets the delays of this second.
    pub fn restart(&mut self) {
        self.window = None;
    }

    /// How much faster samples are to be used up that this machine makes for the device.
    pub fn speed_to_device(&self) -> f64 {
        (self.nudge - self.fast).clamp(-MOST_SPEED, MOST_SPEED)
    }

    /// How much faster samples of the device are to be used up.
    pub fn speed_from_device(&self) -> f64 {
        (self.nudge + self.fast).clamp(-MOST_SPEED, MOST_SPEED)
    }

    /// How much too fast the device's clock is, in parts of a million.
    pub fn drift(&self) -> Option<f64> {
        self.drift.ppm()
    }
}
