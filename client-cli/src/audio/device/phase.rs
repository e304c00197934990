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
    /// all in seconds. `fast`: the share by which the device's clock is too fast.
    pub(super) fn second(&mut self, length: f64, since: f64, lead: f64, fast: f64) {
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
        self.per_mix = -STEP * fast;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_come_to_lie_where_they_should_whichever_way_is_shorter() {
        for begin in [0.0, 0.001, 0.0034, 0.0036, 0.0049] {
            let (mut phase, mut since, lead) = (Phase::new(), begin, 0.001);
            for _ in 0..8 {
                since -= phase.take_shift();
                phase.second(0.01, since, lead, 0.0);
            }
            since -= phase.take_shift();
            let wrong = (since - lead) / STEP;
            assert!((wrong - wrong.round()).abs() < 0.02, "{begin}: {since}");
            assert!(phase.is_held());
            assert!((since - begin).abs() <= STEP / 2.0);
        }
    }

    #[test]
    fn nothing_is_expected_of_whoever_does_not_follow_or_of_periods_that_are_no_whole_mixes() {
        let (mut alone, mut odd) = (Phase::new(), Phase::new());
        for _ in 0..10 {
            alone.second(0.01, 0.001, 0.001, 0.0);
            odd.take_shift();
            odd.second(0.0213, 0.001, 0.001, 0.0);
        }
        assert!(!alone.is_held() && !odd.is_held());
        assert_eq!(odd.take_shift(), 0.0);
    }

    #[test]
    fn mixes_keep_the_pace_of_a_device_that_is_too_fast() {
        let mut phase = Phase::new();
        phase.take_shift();
        phase.second(0.01, 0.001, 0.001, 0.001);
        (0..200).for_each(|_| phase.mixed());
        // A second of them is a millisecond shorter.
        assert!((phase.take_shift() + 0.001).abs() < 1e-6);
    }
}
