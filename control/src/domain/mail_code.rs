//! Codes that a person reads in a mail and types.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::constant_time;
use data_encoding::BASE32_NOPAD;

/// Length of a code in bytes: eight characters.
const LEN: usize = 5;

/// 40 bits, shown as eight characters of `a-z 2-7` in two groups. `Debug` hides it.
#[derive(Clone)]
pub struct MailCode([u8; LEN]);

/// Text that is no code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadMailCode;

impl MailCode {
    /// The first 40 bits of `bytes`; `None` if there are fewer.
    pub fn from_prefix(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().copied().map(Self)
    }

    /// True if both are the same, in a time that does not depend on how much of them is.
    pub fn is(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl FromStr for MailCode {
    type Err = BadMailCode;

    /// Case, spaces and `-` do not matter.
    fn from_str(text: &str) -> Result<Self, BadMailCode> {
        let typed = text.chars().filter(|c| !c.is_whitespace() && *c != '-');
        let typed: String = typed.map(|c| c.to_ascii_uppercase()).collect();
        let bytes = BASE32_NOPAD.decode(typed.as_bytes());
        let bytes = bytes.map_err(|_| BadMailCode)?;
        bytes.try_into().map(Self).map_err(|_| BadMailCode)
    }
}

impl fmt::Display for MailCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = BASE32_NOPAD.encode(&self.0).to_ascii_lowercase();
        let (first, second) = text.split_at(text.len() / 2);
        write!(f, "{first}-{second}")
    }
}

impl fmt::Debug for MailCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MailCode(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        let code = MailCode([0, 68, 50, 20, 199]);
        assert_eq!(code.to_string(), "abcd-efgh");
        for typed in ["abcd-efgh", "ABCDEFGH", " ab cd ef gh\n", "a-b-c-d-e-f-g-h"] {
            assert!(typed.parse::<MailCode>().unwrap().is(&code), "{typed}");
        }
        for bad in ["", "abcd-efg", "abcd-efghi", "abcd-efg1", "äbcd-efgh"] {
            assert!(bad.parse::<MailCode>().is_err(), "{bad}");
        }
        assert!(!"abcd-efgi".parse::<MailCode>().unwrap().is(&code));
        assert_eq!(format!("{code:?}"), "MailCode(…)");
        assert!(MailCode::from_prefix(&[1; 4]).is_none());
    }
}
