//! How late packets are: the target delay.
//!
//! A packet's *transit* is its arrival less its timestamp, so that it has an arbitrary origin and only differences
//! mean anything. As in NetEq (WebRTC `DelayManager`, relative arrival delay, resampled), each interval of 100 ms
//! counts once, with its slowest packet, so that a burst after a stall is one event and not fifty. Two measures of
//! those are taken, and the larger is the target:
//!
//! - quick: a high quantile under a forget factor, which sees new jitter within 200 ms and forgets it in 9 s;
//! - patient: the second slowest of the last eight seconds, each counted once, for peaks that come again.
//!
//! Intervals are kept as they are (some tens of numbers), not in a histogram's buckets: nothing is rounded, and
//! nothing has to be shifted when a path changes or clocks drift.

use std::collections::VecDeque;

use super::ms;

/// An interval of the quick measure.
const QUICK_INTERVAL: i64 = ms(100);
/// How many are kept; the oldest then weighs 0.02 of the newest.
const QUICK_INTERVALS: usize = 112;
/// Weight of an interval against the next newer one.
const FORGET_FACTOR: f32 = 0.965;
/// The part of intervals that the quick measure lets be late.
const LATE_PART: f32 = 0.05;

/// An interval of the slow measure.
const PATIENT_INTERVAL: i64 = ms(1000);
const PATIENT_INTERVALS: usize = 8;

/// Frames that are not protected for so long end the wait for redundancy. Shorter, and the delay would go up and down with
/// the gaps in which nothing is said.
const REACH_LIFETIME: i64 = ms(2000);

/// Evidence older than this is dropped even if nothing came since: clocks drift apart by 4 ms in it at 200 ppm.
const EVIDENCE_LIFETIME: i64 = ms(20_000);

/// Held on top of what was measured, unless redundancy is waited for: the scheduling of two programs.
pub(super) const MARGIN: i64 = ms(1);
/// Held on top while little has been measured.
const STARTUP_MARGIN: i64 = ms(16);
/// Intervals after which the start is over.
const STARTUP_INTERVALS: usize = 5;

/// The target is at most this much over the fastest packet. What is slower than that is better lost.
pub(super) const MAX_DELAY: i64 = ms(400);
/// A packet slower than that is a stall's, and tells nothing of jitter, unless it goes on for this long: then it is the
/// path, or a clock, that changed.
const STALL_PATIENCE: i64 = ms(300);

/// Watches transits; all values are in samples.
#[derive(Debug, Default)]
pub(super) struct DelayEstimator {
    /// How long after a lost frame redundancy may bring it back, and when a frame last said so.
    reach: Option<(i64, i64)>,
    quick: VecDeque<Interval>,
    patient: VecDeque<Interval>,
    stalled_since: Option<i64>,
    measured: Option<Measured>,
    scratch: Vec<(i64, f32)>,
}

#[derive(Clone, Copy, Debug)]
struct Interval {
    start: i64,
    fastest: i64,
    slowest: i64,
}

/// The estimate from the transits so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// Transit of the fastest recent packet.
    pub(super) fastest: i64,
    /// Transit up to which packets should be waited for.
    pub(super) target: i64,
}

impl DelayEstimator {
    /// Takes one packet's arrival and transit.
    pub(super) fn record(&mut self, arrival: i64, transit: i64) {
        if let Some(Measured { fastest, .. }) = self.measured {
            if transit > fastest + MAX_DELAY {
                let since = *self.stalled_since.get_or_insert(arrival);
                if arrival - since < STALL_PATIENCE {
                    return;
                }
                self.reset();
            } else if transit < fastest - MAX_DELAY {
                // All that was known is now beyond the largest target.
                self.reset();
            }
        }
        self.stalled_since = None;
        extend(&mut self.quick, arrival, transit, QUICK_INTERVAL);
        extend(&mut self.patient, arrival, transit, PATIENT_INTERVAL);
        expire(&mut self.quick, arrival, QUICK_INTERVALS);
        expire(&mut self.patient, arrival, PATIENT_INTERVALS);
        self.reach = self
            .reach
            .filter(|(_, said)| arrival - said < REACH_LIFETIME);
        self.measured = self.measure();
    }

    /// Frames that arrive now are protected: lost ones come back up to so many samples later.
    pub(super) fn record_reach(&mut self, arrival: i64, reach: i64) {
        let is_covered = self
            .reach
            .is_some_and(|(longest, said)| longest > reach && arrival - said < REACH_LIFETIME);
        if is_covered {
            return;
        }
        let before = self.reach.replace((reach, arrival));
        if before.map(|(reach, _)| reach) != Some(reach) {
            self.measured = self.measure();
        }
    }

    /// The present measure; `None` before the first packet.
    pub(super) fn measured(&self) -> Option<Measured> {
        self.measured
    }

    /// Forgets everything.
    pub(super) fn reset(&mut self) {
        self.quick.clear();
        self.patient.clear();
        self.reach = None;
        self.stalled_since = None;
        self.measured = None;
    }

    fn measure(&mut self) -> Option<Measured> {
        let fastest = self.patient.iter().map(|i| i.fastest).min()?;
        let quick = self.quick_quantile()?;
        let startup = if self.quick.len() < STARTUP_INTERVALS {
            STARTUP_MARGIN
        } else {
            0
        };
        let slow = self.second_slowest().map_or(quick, |peak| peak.max(quick));
        let reach = self.reach.map_or(0, |(reach, _)| reach);
        Some(Measured {
            fastest,
            target: (slow + (MARGIN + startup).max(reach)).min(fastest + MAX_DELAY),
        })
    }

    fn quick_quantile(&mut self) -> Option<i64> {
        self.scratch.clear();
        let mut weight = 1.0;
        let mut total = 0.0;
        for interval in self.quick.iter().rev() {
            self.scratch.push((interval.slowest, weight));
            total += weight;
            weight *= FORGET_FACTOR;
        }
        self.scratch
            .sort_unstable_by_key(|&(slowest, _)| std::cmp::Reverse(slowest));
        let mut late = 0.0;
        self.scratch
            .iter()
            .find(|&&(_, weight)| {
                late += weight;
                late > LATE_PART * total
            })
            .map(|&(slowest, _)| slowest)
    }

    fn second_slowest(&self) -> Option<i64> {
        let mut first = None;
        let mut second = None;
        for interval in &self.patient {
            let slowest = Some(interval.slowest);
            if slowest > first {
                second = first;
                first = slowest;
            } else if slowest > second {
                second = slowest;
            }
        }
        second
    }
}

fn extend(intervals: &mut VecDeque<Interval>, arrival: i64, transit: i64, length: i64) {
    match intervals.back_mut() {
        Some(last) if arrival < last.start + length => {
            last.fastest = last.fastest.min(transit);
            last.slowest = last.slowest.max(transit);
        }
        _ => intervals.push_back(Interval {
            start: arrival,
            fastest: transit,
            slowest: transit,
        }),
    }
}

fn expire(intervals: &mut VecDeque<Interval>, arrival: i64, most: usize) {
    while intervals.len() > most
        || intervals
            .front()
            .is_some_and(|oldest| arrival - oldest.start > EVIDENCE_LIFETIME)
    {
        intervals.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet each 20 ms from `start` on; `delay` gives the delay of each, in ms.
    fn feed(
        estimator: &mut DelayEstimator,
        start_ms: i64,
        packets: i64,
        mut delay: impl FnMut(i64) -> i64,
    ) {
        for n in 0..packets {
            let delay = ms(delay(n));
            estimator.record(ms(start_ms + n * 20) + delay, delay);
        }
    }

    fn target_ms(estimator: &DelayEstimator) -> i64 {
        estimator.measured().unwrap().target / ms(1)
    }

    const MARGIN_MS: i64 = MARGIN / ms(1);

    #[test]
    fn a_calm_network_needs_only_the_margin() {
        let mut estimator = DelayEstimator::default();
        feed(&mut estimator, 0, 50, |_| 30);
        assert_eq!(target_ms(&estimator), 30 + MARGIN_MS);
    }

    #[test]
    fn new_jitter_is_seen_at_once_and_forgotten_within_ten_seconds() {
        let mut estimator = DelayEstimator::default();
        feed(&mut estimator, 0, 500, |_| 0);
        feed(&mut estimator, 10_000, 15, |n| (n % 4) * 20);
        assert_eq!(target_ms(&estimator), 60 + MARGIN_MS);
        feed(&mut estimator, 10_300, 500, |n| (n % 4) * 20);
        feed(&mut estimator, 20_300, 500, |_| 0);
        assert_eq!(target_ms(&estimator), MARGIN_MS);
    }

    #[test]
    fn a_single_spike_is_ignored_but_peaks_that_come_again_are_not() {
        let mut estimator = DelayEstimator::default();
        feed(&mut estimator, 0, 500, |n| if n == 400 { 100 } else { 0 });
        assert_eq!(target_ms(&estimator), MARGIN_MS);
        feed(&mut estimator, 10_000, 500, |n| {
            if n % 150 == 140 { 100 } else { 0 }
        });
        assert_eq!(target_ms(&estimator), 100 + MARGIN_MS);
    }

    #[test]
    fn a_path_that_becomes_slower_by_seconds_is_taken_up() {
        let mut estimator = DelayEstimator::default();
        feed(&mut estimator, 0, 100, |_| 0);
        feed(&mut estimator, 2000, 50, |_| 5000);
        assert!((5000..5030).contains(&target_ms(&estimator)));
        feed(&mut estimator, 9000, 50, |_| 10);
        assert!((10..30).contains(&target_ms(&estimator)));
    }
}
