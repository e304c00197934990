//! Values of flags in one form for all programs: durations, sizes and rates are a number with its unit.

mod address;
mod duration;
mod quantities;
mod whole;

pub use address::{BadAddress, socket_address};
pub use duration::{BadDuration, duration, duration_within, show_duration};
pub use quantities::{BadQuantity, BitRate, PerSecond, Size};
pub use whole::{BadNumber, whole_within};

/// Decimal places of a number.
const MOST_PLACES: usize = 9;

/// Splits a text into its number and its unit.
fn split(text: &str) -> (&str, &str) {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    text.split_at(text.find(|c| !is_number(c)).unwrap_or(text.len()))
}

/// `number`, a decimal such as `1.5`, times `unit`; `None` if it is none, is not whole, or is too large.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, places) = match number.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (number, ""),
    };
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !are_digits(whole) || !are_digits(places) || places.len() > MOST_PLACES {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    let divisor = 10_u128.pow(places.len().try_into().ok()?);
    let numerator = format!("0{places}").parse::<u128>().ok()? * u128::from(unit);
    let part = (numerator % divisor == 0).then_some(numerator / divisor)?;
    whole.checked_add(part.try_into().ok()?)
}
