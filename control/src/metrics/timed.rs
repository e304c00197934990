//! Durations of operations, by name and result.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use confab_telemetry::{Histogram, Page};

/// Upper bounds of the buckets, in nanoseconds: 0.5 ms to 10 s.
const BOUNDS: [u64; 14] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Prefix of the protocol's error names, which is not shown.
const CODE_PREFIX: &str = "ERROR_CODE_";

/// A result as it is shown: `ok`, `redirect` or the refusal's code, in lower case.
pub fn shown(result: &str) -> String {
    result.trim_start_matches(CODE_PREFIX).to_ascii_lowercase()
}

/// One histogram of durations for each name and result.
#[derive(Default)]
pub struct Timed(RwLock<BTreeMap<(&'static str, &'static str), Histogram>>);

impl Timed {
    /// Records one operation and its duration.
    pub fn observe(&self, name: &'static str, result: &'static str, took: Duration) {
        let key = (name, result);
        let read = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(histogram) = read.get(&key) {
            return histogram.record_duration(took, 1);
        }
        drop(read);
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(key)
            .or_insert_with(histogram)
            .record_duration(took, 1);
    }

    /// Writes the histograms as one metric, with `label` for the name.
    pub fn write(&self, page: &mut Page, metric: &str, label: &str, help: &str) {
        page.head(metric, "histogram", help);
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for ((name, result), histogram) in all.iter() {
            let result = shown(result);
            let labels = format!("{label}=\"{name}\",result=\"{result}\"");
            page.histogram(metric, &labels, [histogram]);
        }
    }
}

/// A histogram of times, with the buckets of all times that control measures.
pub fn histogram() -> Histogram {
    Histogram::of_durations(&BOUNDS)
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
