//! Days, as messages tell them.

use rustls::pki_types::UnixTime;

const SECONDS_PER_DAY: u64 = 86_400;

/// A time by its day, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Date {
    /// Since 1970-01-01.
    seconds: u64,
}

impl From<UnixTime> for Date {
    fn from(time: UnixTime) -> Self {
        Self {
            seconds: time.as_secs(),
        }
    }
}

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (year, month, day) = civil(self.seconds / SECONDS_PER_DAY);
        write!(f, "{year}-{month:02}-{day:02}")
    }
}

/// The time from one to a later other, in days or, when it is shorter, in hours.
pub(crate) fn days_between(from: Date, to: Date) -> String {
    let seconds = to.seconds.saturating_sub(from.seconds);
    let (count, unit) = match seconds / SECONDS_PER_DAY {
        0 => (seconds.div_ceil(3600), "hour"),
        days => (days, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar. Years are counted from March, so that the leap
/// day is their last.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    // From 0000-03-01.
    let days = days + 719_468;
    let era = days / DAYS_PER_ERA;
    let day_of_era = days % DAYS_PER_ERA;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year_of_era + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_the_names_that_the_calendar_gives_them() {
        for (seconds, name) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_709_164_800, "2024-02-29"),
            (1_764_288_000, "2025-11-28"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(Date { seconds }.to_string(), name);
        }
    }

    #[test]
    fn short_times_are_told_in_hours() {
        let date = |seconds| Date { seconds };
        assert_eq!(days_between(date(0), date(1)), "1 hour");
        assert_eq!(days_between(date(0), date(7201)), "3 hours");
        assert_eq!(days_between(date(0), date(86_400)), "1 day");
        assert_eq!(days_between(date(0), date(8_640_000)), "100 days");
    }
}
