//! The JSON form of reports: one object a line, with the time at its end and numbers of three decimals.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// Decimals of a number that is not an integer: what is behind them no meter here measures.
const DECIMALS: i32 = 3;

/// A report with its time.
#[derive(Serialize)]
struct Timed<'a, T> {
    #[serde(flatten)]
    report: &'a T,
    /// Seconds since 1970-01-01 UTC.
    time: f64,
}

/// Writes numbers with [`DECIMALS`] decimals at most.
struct Rounded;

impl Formatter for Rounded {
    fn write_f32<W: ?Sized + Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        self.write_f64(writer, value.into())
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let scale = 10f64.powi(DECIMALS);
        let rounded = (value * scale).round() / scale;
        // One that is too large to be scaled has no decimals.
        let shown = if rounded.is_finite() { rounded } else { value };
        CompactFormatter.write_f64(writer, shown)
    }
}

/// The line of a report that is made at `now`.
pub(super) fn line(report: &impl Serialize, now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let timed = Timed {
        report,
        time: since.as_secs_f64(),
    };
    let mut bytes = Vec::new();
    timed
        .serialize(&mut Serializer::with_formatter(&mut bytes, Rounded))
        .expect("what is said is made of strings, numbers and lists");
    String::from_utf8(bytes).expect("JSON is text")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Serialize)]
    struct Report {
        event: &'static str,
        level: f32,
        huge: f64,
        count: u64,
    }

    #[test]
    fn a_line_has_rounded_numbers_whole_integers_and_the_time_last() {
        let report = Report {
            event: "stats",
            level: 0.123_456,
            huge: 1e300,
            count: 1_795_000_000_123_456_789,
        };
        let now = UNIX_EPOCH + Duration::from_nanos(1_795_000_000_123_456_789);
        let expected = r#"{"event":"stats","level":0.123,"huge":1e+300,"count":1795000000123456789,"time":1795000000.123}"#;
        assert_eq!(line(&report, now), expected);
    }
}
