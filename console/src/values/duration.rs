//! Durations: `500ms`, `10s`, `1.5s`, `2m`, `1h`, `30d`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{scaled, split};

/// Units with their nanoseconds, the largest first.
const UNITS: [(&str, u64); 6] = [
    ("d", 24 * 60 * 60 * 1_000_000_000),
    ("h", 60 * 60 * 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1000),
];

/// Text that is no duration, or not one that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDuration {
    /// It is a number alone.
    #[error("a duration has a unit: {0}ms, {0}s, {0}m, {0}h or {0}d")]
    NoUnit(String),
    /// It does not have the form.
    #[error("a duration is a number and a unit, as 500ms, 10s, 2m, 1h or 30d")]
    Form,
    /// It is out of range.
    #[error("it is not between {} and {}", show_duration(*.0.start()), show_duration(*.0.end()))]
    Range(RangeInclusive<Duration>),
}

/// Reads a duration: a number, with decimal places if wished, and one of the units us, ms, s, m, h and d.
///
/// # Errors
///
/// Without a unit, or in another form.
pub fn duration(text: &str) -> Result<Duration, BadDuration> {
    let (number, unit) = split(text);
    if unit.is_empty() && number.parse::<f64>().is_ok() {
        return Err(BadDuration::NoUnit(number.to_owned()));
    }
    let known = UNITS.iter().find(|(name, _)| *name == unit);
    known
        .and_then(|(_, unit)| scaled(number, *unit))
        .map(Duration::from_nanos)
        .ok_or(BadDuration::Form)
}

/// Reads a duration of a range, for clap's `value_parser`.
pub fn duration_within(
    range: RangeInclusive<Duration>,
) -> impl Fn(&str) -> Result<Duration, BadDuration> + Clone + Send + Sync + 'static {
    move |text| {
        let duration = duration(text)?;
        match range.contains(&duration) {
            true => Ok(duration),
            false => Err(BadDuration::Range(range.clone())),
        }
    }
}

/// The duration in the largest unit in which it is a whole number; without what is less than a microsecond.
pub fn show_duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    let whole = |unit: u64| nanoseconds.is_multiple_of(u128::from(unit));
    let (name, unit) = *UNITS
        .iter()
        .find(|(_, unit)| whole(*unit))
        .unwrap_or(&UNITS[UNITS.len() - 1]);
    format!("{}{name}", nanoseconds / u128::from(unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_unit_is_read() {
        for (text, microseconds) in [
            ("100us", 100),
            ("500ms", 500_000),
            ("10s", 10_000_000),
            ("1.5s", 1_500_000),
            ("2m", 120_000_000),
            ("1h", 3_600_000_000),
            ("0.5d", 43_200_000_000),
            ("0s", 0),
        ] {
            let read = duration(text);
            assert_eq!(read, Ok(Duration::from_micros(microseconds)), "{text}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "s",
            "-1s",
            "1e3s",
            "NaNs",
            "1 s",
            "1min",
            "1.s",
            ".5s",
            "1..5s",
            "1.5.5s",
            "infs",
            "99999999999999999999d",
            "0.0000000001s",
            "1s ",
            "1S",
            "1µs",
        ] {
            assert_eq!(duration(text), Err(BadDuration::Form), "{text:?}");
        }
        for text in ["5", "1.5", "0"] {
            assert_eq!(duration(text), Err(BadDuration::NoUnit(text.to_owned())));
        }
    }

    #[test]
    fn a_range_is_said_in_the_same_form() {
        let parse = duration_within(Duration::from_secs(20)..=Duration::from_secs(120));
        assert_eq!(parse("30s"), Ok(Duration::from_secs(30)));
        let error = parse("3s").expect_err("too short").to_string();
        assert_eq!(error, "it is not between 20s and 2m");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(microseconds in 0..u64::MAX / 1000) {
            let shown = show_duration(Duration::from_micros(microseconds));
            prop_assert_eq!(duration(&shown), Ok(Duration::from_micros(microseconds)));
        }

        #[test]
        fn no_text_panics(text in ".{0,30}", number in "[0-9.]{0,40}", unit in "[a-z]{0,2}") {
            let _ = duration(&text);
            let _ = duration(&format!("{number}{unit}"));
        }
    }
}
