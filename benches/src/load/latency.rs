//! How long frames stayed in a relay, from the kernel's receive timestamp to the end of the send: read from its metrics.

use std::time::Duration;

const BUCKET: &str = "confab_relay_send_latency_seconds_bucket{le=\"";

/// The histogram at one moment: upper ends in seconds, and how many were not above each.
#[derive(Debug, Clone, PartialEq)]
pub struct LatencyBuckets(Vec<(f64, u64)>);

impl LatencyBuckets {
    /// Finds the histogram in what a relay's `/metrics` says.
    pub fn parse(text: &str) -> Self {
        let buckets = text.lines().filter_map(|line| {
            let (end, count) = line.strip_prefix(BUCKET)?.split_once("\"} ")?;
            let end = if end == "+Inf" {
                f64::INFINITY
            } else {
                end.parse().ok()?
            };
            Some((end, count.trim().parse().ok()?))
        });
        Self(buckets.collect())
    }

    /// True when there was none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time that this share of what came since `before` did not exceed: a bucket's upper end.
    pub fn quantile_since(&self, before: &Self, share: f64) -> Duration {
        let since: Vec<_> = self
            .0
            .iter()
            .zip(&before.0)
            .map(|((end, now), (_, then))| (*end, now.saturating_sub(*then)))
            .collect();
        let total = since.last().map_or(0, |(_, count)| *count) as f64;
        let reached = since
            .iter()
            .find(|(_, count)| *count as f64 >= total * share);
        let end = reached.map_or(f64::INFINITY, |(end, _)| *end);
        Duration::try_from_secs_f64(end).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_came_in_between() {
        let text = |counts: [u64; 3]| {
            format!(
                "# HELP x\n{BUCKET}0.001\"}} {}\n{BUCKET}0.002\"}} {}\n{BUCKET}+Inf\"}} {}\n",
                counts[0], counts[1], counts[2]
            )
        };
        let before = LatencyBuckets::parse(&text([100, 100, 100]));
        let after = LatencyBuckets::parse(&text([150, 199, 200]));
        assert_eq!(after.quantile_since(&before, 0.5), Duration::from_millis(1));
        assert_eq!(
            after.quantile_since(&before, 0.99),
            Duration::from_millis(2)
        );
        assert_eq!(after.quantile_since(&before, 1.0), Duration::MAX);
    }
}
