//! Dates and times as messages tell them to people.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A message's milliseconds since 1970 as people and programs read them: RFC 3339 in UTC, to the second.
pub fn time(ms: u64) -> String {
    let known = i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    known.map_or_else(
        || "unknown".to_owned(),
        |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

/// A second since 1970, UTC. Displayed as its day: `2026-11-28`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Moment(u64);

impl Moment {
    /// So many seconds after the start of 1970.
    pub fn from_unix_seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// The minute: `2026-11-28 12:00`.
    pub fn minute(self) -> String {
        self.formatted("%Y-%m-%d %H:%M")
    }

    /// How long it is until a later moment, in the largest unit of which there are two: `3 days`.
    pub fn until(self, later: Self) -> String {
        match later.0.saturating_sub(self.0) {
            s if s >= 2 * DAY => format!("{} days", s / DAY),
            s if s >= 2 * HOUR => format!("{} hours", s / HOUR),
            s if s >= 2 * MINUTE => format!("{} minutes", s / MINUTE),
            s => format!("{s} seconds"),
        }
    }

    fn formatted(self, form: &str) -> String {
        let seconds = i64::try_from(self.0).unwrap_or(i64::MAX);
        // A date that no calendar has is told in seconds.
        Timestamp::from_second(seconds).map_or_else(
            |_| format!("second {} since 1970", self.0),
            |time| time.to_zoned(TimeZone::UTC).strftime(form).to_string(),
        )
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.formatted("%Y-%m-%d"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_utc_and_one_of_no_calendar_is_unknown() {
        assert_eq!(time(1_795_867_200_999), "2026-11-28T12:00:00Z");
        assert_eq!(time(u64::MAX), "unknown");
    }

    #[test]
    fn moments_are_told_as_a_person_says_them() {
        let noon = Moment(1_795_867_200);
        assert_eq!(noon.to_string(), "2026-11-28");
        assert_eq!(noon.minute(), "2026-11-28 12:00");
        let never = Moment(u64::MAX);
        assert_eq!(never.to_string(), format!("second {} since 1970", u64::MAX));
    }

    #[test]
    fn times_between_are_told_in_the_largest_unit_of_which_there_are_two() {
        for (seconds, told) in [
            (0, "0 seconds"),
            (119, "119 seconds"),
            (2 * MINUTE, "2 minutes"),
            (3 * HOUR + 1, "3 hours"),
            (47 * HOUR, "47 hours"),
            (48 * HOUR, "2 days"),
        ] {
            assert_eq!(Moment(1000).until(Moment(1000 + seconds)), told);
        }
        assert_eq!(Moment(5).until(Moment(1)), "0 seconds");
    }
}
