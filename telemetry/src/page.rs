//! Figures as text.

use std::fmt::{Display, Write as _};

/// Figures of a server in the text format of Prometheus.
#[derive(Debug)]
pub struct Page {
    prefix: &'static str,
    text: String,
}

impl Page {
    /// One whose names all begin with `prefix` and an underscore.
    pub fn new(prefix: &'static str) -> Self {
        let text = String::with_capacity(32 * 1024);
        Self { prefix, text }
    }

    /// The whole of it.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Says what the lines that follow are: a `gauge`, a `counter` or a `histogram`.
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

    /// What is so much now.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.line(name, "", value);
    }

    /// What only grows.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "counter", help);
        self.line(name, "", value);
    }

    /// The lines of a histogram: counts of buckets by their upper end, of which the last has none, and the sum of all that was
    /// observed.
    pub fn buckets(
        &mut self,
        name: &str,
        labels: &str,
        buckets: impl Iterator<Item = (Option<f64>, u64)>,
        sum: f64,
    ) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut so_far = 0;
        for (end, count) in buckets {
            so_far += count;
            let end = end.map_or_else(|| "+Inf".to_owned(), |end| end.to_string());
            let labels = format!("{labels}{comma}le=\"{end}\"");
            self.line(&format!("{name}_bucket"), &labels, so_far);
        }
        self.line(&format!("{name}_sum"), labels, sum);
        self.line(&format!("{name}_count"), labels, so_far);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_counts_all_below_it() {
        let mut page = Page::new("confab");
        page.gauge("rooms", "Rooms.", 3);
        page.head("wait_seconds", "histogram", "Waits.");
        let buckets = [(Some(0.0005), 1), (Some(10.0), 2), (None, 4)];
        page.buckets("wait_seconds", "", buckets.into_iter(), 1.5);
        page.buckets("wait_seconds", "kind=\"a\"", buckets.into_iter(), 1.5);
        let expected = "\
# HELP confab_rooms Rooms.
# TYPE confab_rooms gauge
confab_rooms 3
# HELP confab_wait_seconds Waits.
# TYPE confab_wait_seconds histogram
confab_wait_seconds_bucket{le=\"0.0005\"} 1
confab_wait_seconds_bucket{le=\"10\"} 3
confab_wait_seconds_bucket{le=\"+Inf\"} 7
confab_wait_seconds_sum 1.5
confab_wait_seconds_count 7
confab_wait_seconds_bucket{kind=\"a\",le=\"0.0005\"} 1
confab_wait_seconds_bucket{kind=\"a\",le=\"10\"} 3
confab_wait_seconds_bucket{kind=\"a\",le=\"+Inf\"} 7
confab_wait_seconds_sum{kind=\"a\"} 1.5
confab_wait_seconds_count{kind=\"a\"} 7
";
        assert_eq!(page.into_text(), expected);
    }
}
