//! How long things took, in buckets that grow with the time, four to an octave; and how large they were, one to an octave.

use std::time::Duration;

use super::counters::Counter;

/// Buckets of an octave.
const PER_OCTAVE: usize = 4;
/// Octaves above 1 µs: up to about a second.
const OCTAVES: usize = 20;
const BUCKETS: usize = PER_OCTAVE * OCTAVES;

/// Counts times by length; written by one worker, read by anyone.
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    longer: Counter,
    sum_ns: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| Counter::default()),
            longer: Counter::default(),
            sum_ns: Counter::default(),
        }
    }
}

impl Histogram {
    /// Counts that something took `time`, `times` over.
    pub fn record(&self, time: Duration, times: u64) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.buckets
            .get(bucket_of(nanoseconds))
            .unwrap_or(&self.longer)
            .add(times);
        self.sum_ns.add(nanoseconds.saturating_mul(times));
    }

    /// Each bucket's upper end in nanoseconds and what it counted; the last has no end.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let counted = self.buckets.iter().enumerate();
        counted
            .map(|(index, counter)| (Some(upper_end(index)), counter.get()))
            .chain(std::iter::once((None, self.longer.get())))
    }

    /// All times together, in nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns.get()
    }
}

/// Octaves of sizes: up to 1024, the largest batch.
const SIZES: usize = 11;

/// Counts batches by size, 1 to 1024; written by one worker, read by anyone.
#[derive(Default)]
pub struct SizeHistogram {
    buckets: [Counter; SIZES],
    sum: Counter,
}

impl SizeHistogram {
    /// Counts one of this size.
    pub fn record(&self, size: u64) {
        let octave = size.max(1).next_power_of_two().ilog2() as usize;
        self.buckets[octave.min(SIZES - 1)].add(1);
        self.sum.add(size);
    }

    /// Each bucket's largest size, and what it counted.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        let counted = self.buckets.iter().enumerate();
        counted.map(|(octave, counter)| (1 << octave, counter.get()))
    }

    /// All sizes together.
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }
}

/// The bucket of a time: the first whose upper end is not below it.
fn bucket_of(nanoseconds: u64) -> usize {
    if nanoseconds <= 1000 {
        return 0;
    }
    // The octave of the time, then the quarter of that octave, linearly.
    let scaled = (nanoseconds - 1) / 1000;
    let octave = scaled.ilog2() as usize;
    let base = 1000u64 << octave;
    let quarter = (nanoseconds - 1 - base) * PER_OCTAVE as u64 / base;
    octave * PER_OCTAVE + quarter as usize + 1
}

fn upper_end(index: usize) -> u64 {
    let Some(above) = index.checked_sub(1) else {
        return 1000;
    };
    let base = 1000u64 << (above / PER_OCTAVE);
    base + base * (above % PER_OCTAVE + 1) as u64 / PER_OCTAVE as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_first_bucket_that_reaches_it() {
        for nanoseconds in (0..5_000_000)
            .step_by(97)
            .chain([1000, 1001, 1250, 1251, 2000, 2001])
        {
            let index = bucket_of(nanoseconds);
            assert!(nanoseconds <= upper_end(index), "{nanoseconds}");
            assert!(
                index == 0 || nanoseconds > upper_end(index - 1),
                "{nanoseconds}"
            );
        }
    }

    #[test]
    fn every_size_is_in_the_first_bucket_that_reaches_it() {
        for size in 1..=1024 {
            let histogram = SizeHistogram::default();
            histogram.record(size);
            let mut reaching = histogram.buckets().filter(|(end, _)| size <= *end);
            assert_eq!(reaching.next().map(|(_, count)| count), Some(1), "{size}");
            assert_eq!(histogram.sum(), size);
        }
    }

    #[test]
    fn what_is_longer_than_all_buckets_is_counted_too() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_secs(3600), 2);
        histogram.record(Duration::from_micros(10), 5);
        let counted: Vec<_> = histogram
            .buckets()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(counted.len(), 2);
        assert_eq!(counted[0].1, 5);
        assert_eq!(counted[1], (None, 2));
    }
}
