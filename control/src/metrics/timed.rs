//! How often something was done, with what result, and how long it took.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use confab_telemetry::Page;

/// Upper ends of the buckets, in seconds; one more has the rest.
const ENDS: [f64; 14] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// What the protocol's names of refusals begin with, which figures leave out.
const CODE_PREFIX: &str = "ERROR_CODE_";

/// Histograms of time, one for each name and result that there was.
#[derive(Default)]
pub struct Timed(RwLock<BTreeMap<(&'static str, &'static str), Arc<Histogram>>>);

impl Timed {
    /// Something of that name took so long and came to that result.
    pub fn observe(&self, name: &'static str, result: &'static str, took: Duration) {
        let key = (name, result);
        let read = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(histogram) = read.get(&key) {
            return histogram.observe(took);
        }
        drop(read);
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(key).or_default().observe(took);
    }

    /// Writes all of them, with `label` for the name.
    pub fn write(&self, page: &mut Page, metric: &str, label: &str, help: &str) {
        page.head(metric, "histogram", help);
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for ((name, result), histogram) in all.iter() {
            let result = result.trim_start_matches(CODE_PREFIX).to_ascii_lowercase();
            let labels = format!("{label}=\"{name}\",result=\"{result}\"");
            histogram.lines(page, metric, &labels);
        }
    }
}

/// A histogram of time.
#[derive(Default)]
pub struct Histogram {
    counts: [AtomicU64; ENDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// Something took so long.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = ENDS.partition_point(|end| *end < seconds);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Writes it as a metric of its own.
    pub fn write(&self, page: &mut Page, metric: &str, help: &str) {
        page.head(metric, "histogram", help);
        self.lines(page, metric, "");
    }

    fn lines(&self, page: &mut Page, metric: &str, labels: &str) {
        let ends = ENDS.iter().copied().map(Some).chain([None]);
        let counts = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        let seconds = self.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9;
        page.buckets(metric, labels, ends.zip(counts), seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_counts_in_its_bucket_and_all_above() {
        let timed = Timed::default();
        for millis in [1, 2, 100, 60_000] {
            timed.observe("join_room", "ok", Duration::from_millis(millis));
        }
        let mut page = Page::new("confab_control");
        timed.write(&mut page, "request_seconds", "kind", "Help.");
        let out = page.into_text();
        for line in [
            "# TYPE confab_control_request_seconds histogram",
            "confab_control_request_seconds_bucket{kind=\"join_room\",result=\"ok\",le=\"0.0005\"} 0",
            "confab_control_request_seconds_bucket{kind=\"join_room\",result=\"ok\",le=\"0.001\"} 1",
            "confab_control_request_seconds_bucket{kind=\"join_room\",result=\"ok\",le=\"0.0025\"} 2",
            "confab_control_request_seconds_bucket{kind=\"join_room\",result=\"ok\",le=\"0.1\"} 3",
            "confab_control_request_seconds_bucket{kind=\"join_room\",result=\"ok\",le=\"10\"} 3",
            "confab_control_request_seconds_bucket{kind=\"join_room\",result=\"ok\",le=\"+Inf\"} 4",
            "confab_control_request_seconds_count{kind=\"join_room\",result=\"ok\"} 4",
        ] {
            assert!(out.lines().any(|found| found == line), "{line}\n{out}");
        }
    }
}
