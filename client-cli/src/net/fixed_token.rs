//! Tokens that are never exchanged.

use std::fmt;

use confab_protocol::control::TOKEN_LEN;
use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

/// A token that is never exchanged: of a bot, or of a guest.
#[derive(Clone)]
pub struct FixedToken(Zeroizing<Vec<u8>>);

impl FixedToken {
    /// Reads what `confab-control users add-bot` has printed; `None` if it has another form.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.trim().as_bytes()).ok()?;
        Self::new(bytes)
    }

    /// The bytes, to be sent.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The token of a message; `None` if it has another length.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        let bytes = Zeroizing::new(bytes);
        (bytes.len() == TOKEN_LEN).then_some(Self(bytes))
    }
}

impl fmt::Debug for FixedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FixedToken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_is_printed_and_is_not_shown() {
        let bytes = vec![0xfb; TOKEN_LEN];
        let text = format!("{}\n", BASE64URL_NOPAD.encode(&bytes));
        let token = FixedToken::parse(&text).unwrap();
        assert_eq!(token.as_bytes(), bytes);
        assert_eq!(format!("{token:?}"), "FixedToken");
        for bad in ["", &text[..70], "!", &text[1..]] {
            assert!(FixedToken::parse(bad).is_none(), "{bad}");
        }
    }
}
