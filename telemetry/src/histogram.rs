//! Counts of values by size.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counts values in buckets. Any thread may record: without a lock, and without allocating.
#[derive(Debug)]
pub struct Histogram {
    /// Inclusive upper bounds of the buckets, ascending. One more bucket counts the values above the last one.
    bounds: &'static [u64],
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
    /// By how much a recorded value is divided on the page.
    divisor: f64,
}

impl Histogram {
    /// A histogram of plain numbers, with inclusive upper bounds in ascending order.
    pub fn of_numbers(bounds: &'static [u64]) -> Self {
        Self::new(bounds, 1.0)
    }

    /// A histogram of durations, with inclusive upper bounds in nanoseconds in ascending order. The page gives seconds.
    pub fn of_durations(bounds: &'static [u64]) -> Self {
        Self::new(bounds, 1e9)
    }

    fn new(bounds: &'static [u64], divisor: f64) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
            divisor,
        }
    }

    /// Counts `value`, `times` times.
    pub fn record(&self, value: u64, times: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(times, Relaxed);
        }
        self.sum.fetch_add(value.saturating_mul(times), Relaxed);
    }

    /// Counts `duration`, `times` times.
    pub fn record_duration(&self, duration: Duration, times: u64) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.record(nanoseconds, times);
    }

    /// Each bucket's upper bound and count. The last bucket has no bound.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (Option<f64>, u64)> {
        let bounds = self.bounds.iter().map(|bound| Some(self.scaled(*bound)));
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        bounds.chain([None]).zip(counts)
    }

    /// The sum of all values.
    pub(crate) fn sum(&self) -> f64 {
        self.scaled(self.sum.load(Relaxed))
    }

    fn scaled(&self, value: u64) -> f64 {
        value as f64 / self.divisor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [u64; 4] = [1, 2, 4, 8];

    fn counts(histogram: &Histogram) -> Vec<u64> {
        histogram.buckets().map(|(_, count)| count).collect()
    }

    #[test]
    fn every_value_is_in_the_first_bucket_that_reaches_it() {
        for value in 0..=8 {
            let histogram = Histogram::of_numbers(&BOUNDS);
            histogram.record(value, 1);
            let first = BOUNDS.iter().position(|bound| value <= *bound).unwrap();
            assert_eq!(counts(&histogram)[first], 1, "{value}");
            assert_eq!(histogram.sum(), value as f64);
        }
    }

    #[test]
    fn a_value_above_all_bounds_is_counted_in_the_last_bucket() {
        let histogram = Histogram::of_durations(&BOUNDS);
        histogram.record_duration(Duration::from_secs(3600), 2);
        histogram.record_duration(Duration::from_nanos(4), 5);
        assert_eq!(counts(&histogram), [0, 0, 5, 0, 2]);
        assert_eq!(histogram.buckets().last(), Some((None, 2)));
    }
}
