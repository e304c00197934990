//! When samples are really handed out, and by how much the buffer should change.

use super::delay::MARGIN;
use super::ms;

/// A pull that comes this much too late or too early says that the output stood still or a clock jumped.
const CLOCK_JUMP: i64 = ms(500);
/// The earliest pull of one to two of these is the output's phase.
const PHASE_INTERVAL: i64 = ms(500);

/// More than this over the target is not played faster but skipped.
pub(super) const MAX_EXCESS: i64 = ms(300);
/// Less than this is not worth a removal: a target that falls little by little would be followed all the time.
const MIN_REMOVAL: i64 = ms(2);
/// Up to so much is played off a little faster. More is cut out.
const MOST_GLIDED: i64 = ms(15);
/// From here on, removals do not wait for a good place.
const URGENT: i64 = ms(30);
/// Removals leave this much over the target, insertions begin this much under it: a target that moves a little, as it
/// does the more the network jitters, must not turn one into the other. The lower one stays within the target's own
/// margin, or packets would be late by design.
const UPPER_SLACK: i64 = ms(1);
const LOWER_SLACK: i64 = 24;
const LOWER_SLACK_JITTER_PART: i64 = 16;
const MAX_LOWER_SLACK: i64 = MARGIN;

/// How the next frame's length should change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Correction {
    /// Not at all.
    None,
    /// It goes a little faster until so many samples of delay are gone; slower where that is less than none.
    Glide {
        /// Samples held more than wanted.
        excess: i64,
    },
    /// Remove up to `at_most` samples; `urgent` when delay is far too long.
    Accelerate {
        /// Most samples to remove.
        at_most: usize,
        /// Accept a less suitable position for it.
        urgent: bool,
    },
    /// Insert about `about` samples.
    Expand {
        /// Samples by which the buffer is too short.
        about: usize,
    },
}

/// The output's clock. A device asks in jittery steps for a steady stream: what counts is the earliest that it asks.
#[derive(Debug, Default)]
pub(super) struct PlayoutClock {
    /// Samples asked for before this pull.
    output: i64,
    period: i64,
    /// `now` less `output` at the last pull.
    offset: Option<i64>,
    interval_start: i64,
    earliest: i64,
    earliest_before: i64,
}

impl PlayoutClock {
    /// A pull of `period` samples at `now`.
    pub(super) fn pull(&mut self, now: i64, period: i64) {
        self.output += self.period;
        self.period = period;
        let offset = now - self.output;
        let jumped = self
            .offset
            .is_none_or(|before| (offset - before).abs() > CLOCK_JUMP);
        if jumped {
            self.interval_start = self.output;
            self.earliest = offset;
            self.earliest_before = offset;
        } else if self.output - self.interval_start > PHASE_INTERVAL {
            self.interval_start = self.output;
            self.earliest_before = self.earliest;
            self.earliest = offset;
        }
        self.earliest = self.earliest.min(offset);
        self.offset = Some(offset);
    }

    /// As [`PlayoutClock::wall`], at this pull's end.
    pub(super) fn wall_after(&self) -> i64 {
        self.wall() + self.period
    }

    /// The time at which this pull's first sample would be asked for if pulls came evenly and as early as they do.
    pub(super) fn wall(&self) -> i64 {
        self.output + self.earliest.min(self.earliest_before)
    }

    /// The change of length that brings delay to its target.
    ///
    /// `delay`: transit at which samples are played now; `target`: the transit to wait for; `jitter`: the target over
    /// the fastest transit; `queued`: samples decoded and not yet handed out at the start of this pull. A frame is
    /// decoded at the first pull that lacks samples, up to one period before its own first sample is due: that
    /// moment, not the playing, is what a packet must not miss.
    pub(super) fn correction(
        &self,
        delay: i64,
        target: i64,
        jitter: i64,
        queued: i64,
    ) -> Correction {
        let period = self.period.max(1);
        let next_decode = delay - queued + queued.div_euclid(period) * period;
        let slack = (LOWER_SLACK + jitter / LOWER_SLACK_JITTER_PART).min(MAX_LOWER_SLACK);
        let lack = target - next_decode;
        if lack > slack {
            let about = lack as usize;
            return Correction::Expand { about };
        }
        if lack > 0 {
            // Nothing is gained until the next frame is decoded a period later.
            let more = period - queued.rem_euclid(period);
            return Correction::Glide { excess: -more };
        }
        // The largest x for which delay - x - (queued - x) mod period >= target.
        let lowest = target + UPPER_SLACK;
        let periods = -(delay - queued - lowest).div_euclid(period);
        let removable = queued - periods * period;
        if removable < MIN_REMOVAL {
            return Correction::None;
        }
        if removable <= MOST_GLIDED {
            return Correction::Glide { excess: removable };
        }
        Correction::Accelerate {
            at_most: removable as usize,
            urgent: removable > URGENT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jittery_device_is_timed_by_its_earliest_pulls() {
        let mut clock = PlayoutClock::default();
        for n in 0..100 {
            clock.pull(ms(n * 10 + [0, 7, 3, 9][n as usize % 4]), ms(10));
        }
        assert_eq!(clock.wall(), ms(99 * 10));
    }

    #[test]
    fn an_output_that_stood_still_is_believed_at_once() {
        let mut clock = PlayoutClock::default();
        clock.pull(0, ms(10));
        clock.pull(ms(3_600_000), ms(10));
        assert_eq!(clock.wall(), ms(3_600_000));
        clock.pull(0, ms(10));
        assert_eq!(clock.wall(), 0);
    }

    #[test]
    fn removals_leave_each_decode_in_time() {
        let mut clock = PlayoutClock::default();
        clock.pull(0, ms(10));
        for delay in 0..3000 {
            for queued in (0..2000).step_by(37) {
                let target = 700;
                let removed = match clock.correction(delay, target, 0, queued) {
                    Correction::Accelerate { at_most, .. } => Some(at_most as i64),
                    Correction::Glide { excess } if excess > 0 => Some(excess),
                    _ => None,
                };
                if let Some(x) = removed {
                    let slack = |x: i64| delay - x - (queued - x).rem_euclid(480);
                    assert!(slack(x) >= target + UPPER_SLACK);
                    assert!(slack(x + 1) < target + UPPER_SLACK);
                }
            }
        }
    }
}
