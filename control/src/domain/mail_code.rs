//! Codes that a person reads in a mail and types.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::constant_time;
use data_encoding::BASE32_NOPAD;

use super::typed::as_typed;

/// Length of a code in bytes: sixteen characters. A code is good for an account whether or not anybody has asked for it, so nobody may
/// find one by trying at many accounts from many places.
const LEN: usize = 10;
/// 80 bits, shown as sixteen characters of `a-z 2-7` in four groups. `Debug` hides it.
#[derive(Clone)]
pub struct MailCode([u8; LEN]);

/// Text that is no code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadMailCode;

impl MailCode {
    /// The first 80 bits of `bytes`; `None` if there are fewer.
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
        f.write_str(&as_typed(&self.0))
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
        let code = MailCode([0, 68, 50, 20, 199, 66, 84, 182, 53, 207]);
        assert_eq!(code.to_string(), "abcd-efgh-ijkl-mnop");
        for typed in [
            "abcd-efgh-ijkl-mnop",
            "ABCDEFGHIJKLMNOP",
            " ab cd ef gh ijkl mnop\n",
            "a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p",
        ] {
            assert!(typed.parse::<MailCode>().unwrap().is(&code), "{typed}");
        }
        for bad in [
            "",
            "abcd-efgh",
            "abcd-efgh-ijkl-mno",
            "abcd-efgh-ijkl-mnopq",
            "abcd-efgh-ijkl-mno1",
            "äbcd-efgh-ijkl-mnop",
        ] {
            assert!(bad.parse::<MailCode>().is_err(), "{bad}");
        }
        let other: MailCode = "abcd-efgh-ijkl-mnoq".parse().unwrap();
        assert!(!other.is(&code));
        assert_eq!(format!("{code:?}"), "MailCode(…)");
        assert!(MailCode::from_prefix(&[1; 9]).is_none());
    }
}
