//! Times on the command line.

use std::time::Duration;

/// The longest wait for what brings lost frames back.
const LONGEST_MAX_DELAY: Duration = Duration::from_millis(400);

pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    const FORM: &str = "a time such as 10s, 1.5s, 500ms, 2m or 1h";
    let unit_at = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number.parse().map_err(|_| FORM.to_owned())?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(FORM.to_owned()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| FORM.to_owned())
}

pub(super) fn parse_max_delay(text: &str) -> Result<Duration, String> {
    let time = parse_time(text)?;
    match time <= LONGEST_MAX_DELAY {
        true => Ok(time),
        false => Err("400ms at most: what comes later is not waited for in any case".to_owned()),
    }
}

pub(super) fn parse_unix_seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)
        .ok_or_else(|| "seconds since 1970, such as 1795000000.25".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let cases = [
            ("10s", 10_000),
            ("1.5s", 1500),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("3", 3000),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(
                parse_time(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for bad in ["", "s", "-1s", "1d", "1e400s", "NaN"] {
            assert!(parse_time(bad).is_err(), "{bad:?}");
        }
    }
}
