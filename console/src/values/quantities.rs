//! Sizes (`4MiB`), bit rates (`24kbit/s`) and other rates (`120/s`).

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::{scaled, split};

const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];
const BIT_RATES: [(&str, u64); 3] = [("Mbit/s", 1_000_000), ("kbit/s", 1000), ("bit/s", 1)];

/// Text that is no size or rate, or not one that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuantity {
    #[error("a size is a number and a unit, as 64B, 16KiB, 4MiB or 1GiB")]
    Size,
    #[error("a bit rate is a number and a unit, as 6000bit/s, 24kbit/s or 1Mbit/s")]
    BitRate,
    #[error(
        "a rate is a number above zero for each second, minute or hour, as 120/s, 0.5/s or 30/m"
    )]
    Rate,
    /// It is out of range.
    #[error("it is not between {least} and {most}")]
    Range {
        /// The least that is allowed.
        least: String,
        /// The most that is allowed.
        most: String,
    },
}

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Bits a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BitRate(pub u32);

/// Events a second: finite, and above zero.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct PerSecond(pub f64);

impl FromStr for Size {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<Self, BadQuantity> {
        read(text, &SIZES).map(Self).ok_or(BadQuantity::Size)
    }
}

impl FromStr for BitRate {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<Self, BadQuantity> {
        let bits = read(text, &BIT_RATES).and_then(|bits| bits.try_into().ok());
        bits.map(Self).ok_or(BadQuantity::BitRate)
    }
}

impl FromStr for PerSecond {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<Self, BadQuantity> {
        let (number, unit) = split(text);
        let seconds = match unit {
            "/s" => 1.0,
            "/m" => 60.0,
            "/h" => 3600.0,
            _ => return Err(BadQuantity::Rate),
        };
        let number = number.parse::<f64>().map_err(|_| BadQuantity::Rate)?;
        let rate = number / seconds;
        match rate > 0.0 && rate.is_finite() {
            true => Ok(Self(rate)),
            false => Err(BadQuantity::Rate),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, &SIZES)
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0.into(), &BIT_RATES)
    }
}

impl fmt::Display for PerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl Size {
    /// Reads a size of a range, for clap's `value_parser`.
    pub fn within(range: RangeInclusive<Self>) -> impl Parse<Self> {
        within(range)
    }
}

impl BitRate {
    /// Reads a bit rate of a range, for clap's `value_parser`.
    pub fn within(range: RangeInclusive<Self>) -> impl Parse<Self> {
        within(range)
    }
}

impl PerSecond {
    /// Reads a rate of a range, for clap's `value_parser`.
    pub fn within(range: RangeInclusive<Self>) -> impl Parse<Self> {
        within(range)
    }
}

/// A parser for clap's `value_parser`.
pub trait Parse<T>: Fn(&str) -> Result<T, BadQuantity> + Clone + Send + Sync + 'static {}

impl<T, F: Fn(&str) -> Result<T, BadQuantity> + Clone + Send + Sync + 'static> Parse<T> for F {}

fn within<T>(range: RangeInclusive<T>) -> impl Parse<T>
where
    T: FromStr<Err = BadQuantity> + PartialOrd + fmt::Display + Clone + Send + Sync + 'static,
{
    move |text: &str| {
        let value: T = text.parse()?;
        match range.contains(&value) {
            true => Ok(value),
            false => Err(BadQuantity::Range {
                least: range.start().to_string(),
                most: range.end().to_string(),
            }),
        }
    }
}

fn read(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = split(text);
    let (_, unit) = units.iter().find(|(name, _)| *name == unit)?;
    scaled(number, *unit)
}

/// In the largest unit in which it is a whole number.
fn write(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let fits = |(_, unit): &&(&str, u64)| value >= *unit && value.is_multiple_of(*unit);
    let (name, unit) = units.iter().find(fits).unwrap_or(&units[units.len() - 1]);
    write!(f, "{}{name}", value / unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        for (text, bytes) in [
            ("64B", 64),
            ("16KiB", 16 << 10),
            ("4MiB", 4 << 20),
            ("1.5KiB", 1536),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for bad in ["", "64", "4MB", "4M", "-1B", "1.5B", "99999999999GiB"] {
            assert_eq!(bad.parse::<Size>(), Err(BadQuantity::Size), "{bad}");
        }
        assert_eq!(Size(4 << 20).to_string(), "4MiB");
        assert_eq!(Size(0).to_string(), "0B");
    }

    #[test]
    fn bit_rates_have_decimal_units() {
        for (text, bits) in [
            ("24kbit/s", 24_000),
            ("6000bit/s", 6000),
            ("1.2Mbit/s", 1_200_000),
        ] {
            assert_eq!(text.parse(), Ok(BitRate(bits)), "{text}");
        }
        for bad in ["", "24", "24000", "24kbit", "24kbps", "24k", "5000Mbit/s"] {
            assert_eq!(bad.parse::<BitRate>(), Err(BadQuantity::BitRate), "{bad}");
        }
        let within = BitRate::within(BitRate(6000)..=BitRate(128_000));
        let error = within("1kbit/s").expect_err("too little").to_string();
        assert_eq!(error, "it is not between 6kbit/s and 128kbit/s");
    }

    #[test]
    fn rates_say_for_what_time() {
        for (text, rate) in [
            ("120/s", 120.0),
            ("0.5/s", 0.5),
            ("30/m", 0.5),
            ("36/h", 0.01),
        ] {
            assert_eq!(text.parse(), Ok(PerSecond(rate)), "{text}");
        }
        for bad in ["", "120", "0/s", "-1/s", "NaN/s", "inf/s", "1/d", "/s"] {
            assert_eq!(bad.parse::<PerSecond>(), Err(BadQuantity::Rate), "{bad}");
        }
        assert_eq!(PerSecond(1.0).to_string(), "1/s");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(size: u64, bits: u32, rate in 1e-6..1e9f64) {
            prop_assert_eq!(Size(size).to_string().parse(), Ok(Size(size)));
            prop_assert_eq!(BitRate(bits).to_string().parse(), Ok(BitRate(bits)));
            prop_assert_eq!(PerSecond(rate).to_string().parse(), Ok(PerSecond(rate)));
        }
    }
}
