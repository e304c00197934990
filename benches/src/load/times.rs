//! How long things took: buckets that grow with the time, sixteen to an octave, written and read by any thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Buckets of an octave: a quantile is at most a sixteenth too long.
const PER_OCTAVE: u64 = 16;
/// Below it every microsecond has a bucket of its own.
const LINEAR: u64 = 2 * PER_OCTAVE;
/// Octaves above that: up to half an hour.
const OCTAVES: usize = 26;
const BUCKETS: usize = LINEAR as usize + OCTAVES * PER_OCTAVE as usize;

/// Counts times by length.
#[derive(Debug)]
pub struct Times(Box<[AtomicU64]>);

/// The counts at a moment.
#[derive(Debug, Clone)]
pub struct Counted(Vec<u64>);

impl Default for Times {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Times {
    pub fn record(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0[bucket_of(us)].fetch_add(1, Relaxed);
    }

    pub fn counted(&self) -> Counted {
        Counted(self.0.iter().map(|count| count.load(Relaxed)).collect())
    }
}

impl Counted {
    /// The counts since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let counts = self.0.iter().zip(&before.0);
        Self(counts.map(|(now, then)| now - then).collect())
    }

    /// The time that this share of all did not exceed: a bucket's upper end. Nothing when nothing was counted.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let total: u64 = self.0.iter().sum();
        if total == 0 {
            return None;
        }
        let mut so_far = 0;
        let reached = self.0.iter().position(|count| {
            so_far += count;
            so_far as f64 >= total as f64 * share
        });
        reached.map(|bucket| Duration::from_micros(upper_end(bucket)))
    }

    /// How great a share took longer than this.
    pub fn share_above(&self, limit: Duration) -> f64 {
        let total: u64 = self.0.iter().sum();
        let us = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        let above: u64 = self.0[bucket_of(us) + 1..].iter().sum();
        above as f64 / total.max(1) as f64
    }
}

fn bucket_of(us: u64) -> usize {
    if us < LINEAR {
        return us as usize;
    }
    let octave = u64::from(us.ilog2() - LINEAR.ilog2());
    let part = (us >> (octave + 1)) - PER_OCTAVE;
    ((LINEAR + octave * PER_OCTAVE + part) as usize).min(BUCKETS - 1)
}

fn upper_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < LINEAR {
        return bucket + 1;
    }
    let (octave, part) = (
        (bucket - LINEAR) / PER_OCTAVE,
        (bucket - LINEAR) % PER_OCTAVE,
    );
    (PER_OCTAVE + part + 1) << (octave + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_below_its_buckets_end_by_a_sixteenth_at_most() {
        for us in (0..5000).chain([1 << 20, (1 << 30) - 1]) {
            let end = upper_end(bucket_of(us));
            assert!(end > us, "{us} {end}");
            assert!(
                end as f64 <= (us + 1) as f64 * (1.0 + 1.0 / 16.0),
                "{us} {end}"
            );
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_of_what_came_in_between() {
        let times = Times::default();
        times.record(Duration::from_secs(1));
        let before = times.counted();
        for ms in 1..=100 {
            times.record(Duration::from_millis(ms));
        }
        let counted = times.counted().since(&before);
        let median = counted.quantile(0.5).expect("some");
        assert!((50..=54).contains(&median.as_millis()), "{median:?}");
        let above = counted.share_above(Duration::from_millis(90));
        assert!((0.05..=0.1).contains(&above), "{above}");
        assert_eq!(before.since(&before).quantile(0.5), None);
    }
}
