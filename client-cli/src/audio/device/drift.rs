//! How much a device's clock differs from this machine's, measured by its callbacks.
//!
//! A callback may be late, by anything up to a stall of the machine, but never early. So of each second only the earliest
//! one counts, and a line through those of the last minutes says how fast the device is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time of which the earliest callback counts.
const BUCKET: Duration = Duration::from_secs(1);

/// Buckets that are looked at.
const BUCKETS: usize = 120;

/// Buckets without which nothing is said.
const LEAST: usize = 10;

/// A second that is later than the one before by more than this, in seconds, is on another line: frames were lost.
const BROKEN: f64 = 0.05;

#[derive(Debug, Clone)]
pub struct Drift {
    rate: f64,
    first: Option<Instant>,
    frames: u64,
    /// End of the bucket that is filled, and its earliest callback: time and lateness in seconds.
    bucket: Option<(Instant, f64, f64)>,
    buckets: VecDeque<(f64, f64)>,
}

impl Drift {
    /// A stream that should have `rate` frames a second.
    pub fn new(rate: u32) -> Self {
        Self {
            rate: f64::from(rate.max(1)),
            first: None,
            frames: 0,
            bucket: None,
            buckets: VecDeque::new(),
        }
    }

    /// A callback at `at` moved `frames`.
    pub fn add(&mut self, at: Instant, frames: usize) {
        let first = *self.first.get_or_insert(at);
        let time = at.saturating_duration_since(first).as_secs_f64();
        let late = time - self.frames as f64 / self.rate;
        self.frames += frames as u64;
        match &mut self.bucket {
            Some((end, of, least)) if at < *end => {
                if late < *least {
                    (*of, *least) = (time, late);
                }
            }
            bucket => {
                let Some((_, of, least)) = bucket.replace((at + BUCKET, time, late)) else {
                    return;
                };
                let lost = |last: &(f64, f64)| (least - last.1).abs() > BROKEN;
                if self.buckets.back().is_some_and(lost) {
                    self.buckets.clear();
                }
                self.buckets.push_back((of, least));
                if self.buckets.len() > BUCKETS {
                    self.buckets.pop_front();
                }
            }
        }
    }

    /// How much too fast the device is, in parts of a million; `None` before that can be told.
    pub fn ppm(&self) -> Option<f64> {
        if self.buckets.len() < LEAST {
            return None;
        }
        let count = self.buckets.len() as f64;
        let (time, late) = self
            .buckets
            .iter()
            .fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let (time, late) = (time / count, late / count);
        let (mut both, mut square) = (0.0, 0.0);
        for (at, lateness) in &self.buckets {
            both += (at - time) * (lateness - late);
            square += (at - time).powi(2);
        }
        // A device that is too fast is ever earlier.
        (square > 0.0).then(|| -both / square * 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    /// Callbacks of 10 ms for so many seconds, each late by chance and now and then by a lot.
    fn run(drift: &mut Drift, start: Instant, ppm: f64, seconds: f64, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut last = 0.0_f64;
        for n in 0..(seconds * 100.0) as u64 {
            let due = n as f64 * 0.01 / (1.0 + ppm * 1e-6);
            let stall = if random.random_bool(0.01) {
                0.15
            } else {
                0.004
            };
            let at = last.max(due + random.random_range(0.0..stall));
            last = at;
            drift.add(start + Duration::from_secs_f64(at), 480);
        }
    }

    #[test]
    fn drift_is_found_under_jitter_and_stalls() {
        for (seed, ppm) in [0.0, 20.0, -200.0, 1500.0, -1500.0].into_iter().enumerate() {
            let mut drift = Drift::new(48_000);
            run(&mut drift, Instant::now(), ppm, 60.0, seed as u64);
            let found = drift.ppm().unwrap();
            assert!((found - ppm).abs() < 20.0, "{ppm}: {found}");
        }
    }

    #[test]
    fn lost_frames_are_not_taken_for_drift() {
        let start = Instant::now();
        let mut drift = Drift::new(48_000);
        run(&mut drift, start, 100.0, 30.0, 1);
        run(&mut drift, start + Duration::from_secs(33), 100.0, 30.0, 2);
        let found = drift.ppm().unwrap();
        assert!((found - 100.0).abs() < 40.0, "{found}");
    }

    #[test]
    fn drift_is_unknown_in_the_first_seconds() {
        let mut drift = Drift::new(48_000);
        assert_eq!(drift.ppm(), None);
        run(&mut drift, Instant::now(), 0.0, 5.0, 1);
        assert_eq!(drift.ppm(), None);
    }
}
