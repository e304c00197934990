//! Whole numbers of a range.

use std::ops::RangeInclusive;

/// Text that is no whole number, or not one that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadNumber {
    #[error("it is not a whole number")]
    Form,
    #[error("it is not between {least} and {most}")]
    Range {
        /// The least that is allowed.
        least: u64,
        /// The most that is allowed.
        most: u64,
    },
    #[error("it is less than {0}")]
    Less(u64),
}

/// Reads a number of a range, for clap's `value_parser`.
pub fn whole_within<T>(
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, BadNumber> + Clone + Send + Sync + 'static
where
    T: Copy + Into<u64> + TryFrom<u64> + 'static,
{
    let (least, most) = ((*range.start()).into(), (*range.end()).into());
    // A range to the largest number of the type is one without an end, for a person.
    let has_end = T::try_from(most.saturating_add(1)).is_ok();
    move |text| {
        // Wider than any range, so that what is out of range is told from what is no number.
        let number: i128 = text.parse().map_err(|_| BadNumber::Form)?;
        let is_allowed = |number: &u64| (least..=most).contains(number);
        let allowed = u64::try_from(number).ok().filter(is_allowed);
        match allowed.and_then(|number| T::try_from(number).ok()) {
            Some(number) => Ok(number),
            None if has_end || number > most.into() => Err(BadNumber::Range { least, most }),
            None => Err(BadNumber::Less(least)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_range_are_read_and_others_named_with_it() {
        let parse = whole_within(2_u8..=9);
        assert_eq!((parse("2"), parse("9")), (Ok(2), Ok(9)));
        for text in ["1", "10", "300", "-3"] {
            let error = parse(text).unwrap_err().to_string();
            assert_eq!(error, "it is not between 2 and 9", "{text}");
        }
        for text in ["", "two", "2.5", "2 "] {
            assert_eq!(parse(text), Err(BadNumber::Form), "{text}");
        }
        let parse = whole_within(1_u32..=u32::MAX);
        assert_eq!(parse("4294967295"), Ok(u32::MAX));
        let error = parse("0").unwrap_err().to_string();
        assert_eq!(error, "it is less than 1");
        let error = parse("5000000000").unwrap_err().to_string();
        assert_eq!(error, "it is not between 1 and 4294967295");
    }
}
