//! Invitations to a conference: a random token, and the id by which the server knows it, which is the first half of the token's SHA-256.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::room::BadField;

/// Bytes of a token, and of its id.
pub const INVITATION_LEN: usize = 16;

/// Most accounts that one invitation makes members.
pub const MAX_USES: u32 = 1000;

/// Shortest and longest life of an invitation.
pub const MIN_VALID: Duration = Duration::from_secs(60);
/// See [`MIN_VALID`].
pub const MAX_VALID: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// What makes whoever has it a member of a conference. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct InvitationToken([u8; INVITATION_LEN]);

/// The first half of the SHA-256 of a token: what the server keeps, and what a person names to revoke the invitation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InvitationId(pub [u8; INVITATION_LEN]);

/// Text that is no token, or no id, of an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadInvitation {
    /// A token has another form.
    #[error("an invitation has 22 letters, digits, '-' and '_': copy the whole link")]
    Token,
    /// An id has another form.
    #[error(
        "an invitation's id has 32 hexadecimal digits: see `confab conference invitations SLUG`"
    )]
    Id,
}

impl InvitationToken {
    /// The token of these random bytes.
    pub fn new(bytes: [u8; INVITATION_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes, whose hash is the [`InvitationId`].
    pub fn as_bytes(&self) -> &[u8; INVITATION_LEN] {
        &self.0
    }

    /// The token as text, for a link.
    pub fn reveal(&self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }

    /// Reads a field of a message.
    ///
    /// # Errors
    ///
    /// It has another length.
    pub fn parse(bytes: &[u8], field: &'static str) -> Result<Self, BadField> {
        bytes.try_into().map(Self).map_err(|_| BadField(field))
    }

    /// For a field of a message.
    pub fn to_wire(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

impl FromStr for InvitationToken {
    type Err = BadInvitation;

    fn from_str(text: &str) -> Result<Self, BadInvitation> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(BadInvitation::Token)
    }
}

impl fmt::Debug for InvitationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InvitationToken")
    }
}

impl InvitationId {
    /// Reads a field of a message.
    ///
    /// # Errors
    ///
    /// It has another length.
    pub fn parse(bytes: &[u8], field: &'static str) -> Result<Self, BadField> {
        bytes.try_into().map(Self).map_err(|_| BadField(field))
    }

    /// For a field of a message.
    pub fn to_wire(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

impl FromStr for InvitationId {
    type Err = BadInvitation;

    fn from_str(text: &str) -> Result<Self, BadInvitation> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(BadInvitation::Id)
    }
}

impl fmt::Display for InvitationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for InvitationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_as_it_is_revealed_and_is_shown_by_nothing_else() {
        let token = InvitationToken::new([7; 16]);
        assert_eq!(token.reveal().parse(), Ok(token.clone()));
        assert_eq!(format!("{token:?}"), "InvitationToken");
        let id = InvitationId([0xab; 16]);
        assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
        for bad in ["", "AAAA", &"A".repeat(23), "!"] {
            assert_eq!(
                bad.parse::<InvitationToken>(),
                Err(BadInvitation::Token),
                "{bad}"
            );
            assert_eq!(bad.parse::<InvitationId>(), Err(BadInvitation::Id), "{bad}");
        }
    }
}
