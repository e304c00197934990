//! Dates and times as a person reads them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustls::pki_types::UnixTime;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The day, as in `2026-11-28`.
pub(super) fn day(time: UnixTime) -> String {
    formatted(time, "%Y-%m-%d")
}

/// The minute, as in `2026-11-28 12:00`.
pub(super) fn minute(time: UnixTime) -> String {
    formatted(time, "%Y-%m-%d %H:%M")
}

/// How long it is from one time to a later one, in the largest unit of which there are two.
pub(super) fn between(earlier: UnixTime, later: UnixTime) -> String {
    let seconds = later.as_secs().saturating_sub(earlier.as_secs());
    match seconds {
        s if s >= 2 * DAY => format!("{} days", s / DAY),
        s if s >= 2 * HOUR => format!("{} hours", s / HOUR),
        s if s >= 2 * MINUTE => format!("{} minutes", s / MINUTE),
        s => format!("{s} seconds"),
    }
}

fn formatted(time: UnixTime, form: &str) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    // A date that no calendar has is said in seconds.
    Timestamp::from_second(seconds).map_or_else(
        |_| format!("second {seconds} since 1970"),
        |time| time.to_zoned(TimeZone::UTC).strftime(form).to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn times_are_told_as_a_person_says_them() {
        assert_eq!(day(at(1_795_867_200)), "2026-11-28");
        assert_eq!(minute(at(1_795_867_200)), "2026-11-28 12:00");
        for (seconds, told) in [
            (0, "0 seconds"),
            (119, "119 seconds"),
            (2 * MINUTE, "2 minutes"),
            (3 * HOUR + 1, "3 hours"),
            (47 * HOUR, "47 hours"),
            (48 * HOUR, "2 days"),
        ] {
            assert_eq!(between(at(1000), at(1000 + seconds)), told);
        }
        assert_eq!(between(at(5), at(1)), "0 seconds");
        assert_eq!(day(at(u64::MAX)), format!("second {} since 1970", i64::MAX));
    }
}
