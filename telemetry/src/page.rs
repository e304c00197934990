//! Figures as text.

use std::fmt::{Display, Write as _};

use crate::Histogram;

/// Figures of a server in the text format of Prometheus.
#[derive(Debug)]
pub struct Page {
    prefix: &'static str,
    text: String,
}

impl Page {
    /// A page whose names begin with `prefix` and an underscore.
    pub fn new(prefix: &'static str) -> Self {
        let text = String::with_capacity(32 * 1024);
        Self { prefix, text }
    }

    /// The page as text.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Begins a metric of the type `gauge`, `counter` or `histogram`. Its lines follow.
    pub fn head(&mut self, name: &str, kind: &str, help: &str) {
        let prefix = self.prefix;
        let _ = writeln!(self.text, "# HELP {prefix}_{name} {help}");
        let _ = writeln!(self.text, "# TYPE {prefix}_{name} {kind}");
    }

    /// A line, with `labels` as `name="value",…` or none.
    pub fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        let prefix = self.prefix;
        let _ = match labels {
            "" => writeln!(self.text, "{prefix}_{name} {value}"),
            labels => writeln!(self.text, "{prefix}_{name}{{{labels}}} {value}"),
        };
    }

    /// Writes a gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.line(name, "", value);
    }

    /// Writes a counter.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "counter", help);
        self.line(name, "", value);
    }

    /// The lines of a histogram. Several `parts` are added up; they have the same bounds.
    pub fn histogram<'a>(
        &mut self,
        name: &str,
        labels: &str,
        parts: impl IntoIterator<Item = &'a Histogram>,
    ) {
        let mut buckets: Vec<(Option<f64>, u64)> = Vec::new();
        let mut sum = 0.0;
        for part in parts {
            buckets.resize(part.buckets().count(), (None, 0));
            for ((bound, count), (of_part, more)) in buckets.iter_mut().zip(part.buckets()) {
                *bound = of_part;
                *count += more;
            }
            sum += part.sum();
        }
        let comma = if labels.is_empty() { "" } else { "," };
        let mut so_far = 0;
        for (bound, count) in buckets {
            so_far += count;
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.to_string());
            let labels = format!("{labels}{comma}le=\"{bound}\"");
            self.line(&format!("{name}_bucket"), &labels, so_far);
        }
        self.line(&format!("{name}_sum"), labels, sum);
        self.line(&format!("{name}_count"), labels, so_far);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_bucket_counts_all_values_below_its_bound() {
        let mut page = Page::new("confab");
        page.gauge("rooms", "Rooms.", 3);
        page.head("wait_seconds", "histogram", "Waits.");
        let waits = Histogram::of_durations(&[500_000, 10_000_000_000]);
        waits.record_duration(Duration::from_micros(500), 1);
        waits.record_duration(Duration::from_secs(3), 2);
        waits.record_duration(Duration::from_secs(20), 4);
        page.histogram("wait_seconds", "", [&waits]);
        page.histogram("wait_seconds", "kind=\"a\"", [&waits, &waits]);
        let expected = "\
# HELP confab_rooms Rooms.
# TYPE confab_rooms gauge
confab_rooms 3
# HELP confab_wait_seconds Waits.
# TYPE confab_wait_seconds histogram
confab_wait_seconds_bucket{le=\"0.0005\"} 1
confab_wait_seconds_bucket{le=\"10\"} 3
confab_wait_seconds_bucket{le=\"+Inf\"} 7
confab_wait_seconds_sum 86.0005
confab_wait_seconds_count 7
confab_wait_seconds_bucket{kind=\"a\",le=\"0.0005\"} 2
confab_wait_seconds_bucket{kind=\"a\",le=\"10\"} 6
confab_wait_seconds_bucket{kind=\"a\",le=\"+Inf\"} 14
confab_wait_seconds_sum{kind=\"a\"} 172.001
confab_wait_seconds_count{kind=\"a\"} 14
";
        assert_eq!(page.into_text(), expected);
    }
}
