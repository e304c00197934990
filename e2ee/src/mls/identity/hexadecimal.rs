//! Keys and signatures as hexadecimal digits, for people to pass on.

use std::fmt::{self, Formatter};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

/// A text does not have the form of what it is read as.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("it has to be {digits} hexadecimal digits")]
pub struct NotHexadecimal {
    /// Digits that it has to have.
    pub digits: usize,
}

pub(super) fn write(bytes: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    HEXLOWER.encode_write(bytes, f)
}

/// Upper and lower case are one.
pub(super) fn read<const N: usize>(text: &str) -> Result<[u8; N], NotHexadecimal> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(NotHexadecimal { digits: 2 * N })
}

#[cfg(test)]
mod tests {
    use crate::mls::identity::{DeviceKey, DevicePublicKey};

    #[test]
    fn a_key_is_read_as_it_was_written_and_nothing_else_is() {
        let key = DeviceKey::generate().public();
        let text = key.to_string();
        assert_eq!(text.parse(), Ok(key));
        assert_eq!(text.to_ascii_uppercase().parse(), Ok(key));
        let long = format!("{text}00");
        let odd = format!("é{}", &text[2..]);
        for wrong in [
            "",
            &text[2..],
            &text[1..],
            &long,
            &text.replacen(&text[..1], "g", 1),
            &odd,
        ] {
            assert!(wrong.parse::<DevicePublicKey>().is_err(), "{wrong}");
        }
    }
}
