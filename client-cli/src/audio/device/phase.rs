//! When mixes are made, against when the device asks for them.
//!
//! Mixes come every 5 ms by this machine's clock, callbacks by the device's. Left alone, what is mixed last before a callback is
//! anything up to 5 ms old, and as much more has to wait for the device at all times. So mixes are shifted until one comes just
//! before the callback, and keep the device's pace from then on.

use crate::audio::MIX_TIME;

/// Seconds between two mixes.
const STEP: f64 = MIX_TIME.as_millis() as f64 / 1000.0;

/// Mixes are where they should be from the first on, and are not any more from the second on, in seconds.
const NEAR: f64 = 0.0008;
const FAR: f64 = 0.0018;

/// Of a callback's length, what may be left beside whole mixes: the rates of devices are no multiples of 200.
const REST: f64 = 0.001;

/// The part of what is wrong that is put right each second.
const GAIN: f64 = 0.5;

#[derive(Debug, Default)]
pub(super) struct Phase {
    /// By how much each mix is to come later than by this machine's clock, in seconds.
    per_mix: f64,
    pending: f64,
    /// Shifts are taken: whoever makes the mixes follows.
    is_followed: bool,
    near: u32,
}

impl Phase {
    /// Nothing is known of the device.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A second has passed. Its earliest callback, which took `length`, came `since` after a mix, and is to come `lead` after one;
    /// all in seconds. `ppm`: how much too fast the device's clock is.
    pub(super) fn second(&mut self, length: f64, since: f64, lead: f64, ppm: Option<f64>) {
        let rest = length - (length / STEP).round() * STEP;
        let fits = length > STEP / 2.0 && rest.abs() < length * REST;
        if !std::mem::take(&mut self.is_followed) || !fits {
            *self = Self::new();
            return;
        }
        let wrong = since - lead;
        let wrong = wrong - (wrong / STEP).round() * STEP;
        match wrong.abs() {
            ..NEAR => self.near += 1,
            FAR.. => self.near = 0,
            _ => {}
        }
        self.per_mix = -STEP * ppm.unwrap_or(0.0) * 1e-6;
        self.pending += GAIN * wrong;
    }

    /// A mix was made.
    pub(super) fn mixed(&mut self) {
        self.pending += self.per_mix;
    }

    /// Seconds by which further mixes are to come later; earlier where that is less than none.
    pub(super) fn take_shift(&mut self) -> f64 {
        self.is_followed = true;
        std::mem::take(&mut self.pending)
    }

    /// True when mixes keep the device's pace, and are where they should be.
    pub(super) fn is_held(&self) -> bool {
        self.near >= 2
    }
}
