//! The KEMs of HPKE (RFC 9180 §4).

use openmls_traits::types::CryptoError;

use super::kdf::Secret;
use super::key_error::HpkeKeyError;
use super::{dhkem, xwing};

/// A KEM. Its keys and outputs are bytes as they stand in MLS messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kem {
    /// DHKEM(X25519, HKDF-SHA256).
    X25519,
    /// X-Wing.
    XWing,
}

impl Kem {
    /// The number in the registry of RFC 9180 §7.1 by which HPKE tells its KEMs apart.
    pub(super) const fn id(self) -> u16 {
        match self {
            Self::X25519 => dhkem::ID,
            Self::XWing => xwing::ID,
        }
    }

    /// Says whether `public_key` can be encapsulated to.
    pub(super) fn check_public_key(self, public_key: &[u8]) -> Result<(), HpkeKeyError> {
        match self {
            Self::X25519 => dhkem::check_public_key(public_key),
            Self::XWing => xwing::check_public_key(public_key),
        }
    }

    /// The private key and the public key from keying material of any length.
    pub(super) fn derive_key_pair(self, ikm: &[u8]) -> Result<(Secret, Vec<u8>), CryptoError> {
        match self {
            Self::X25519 => dhkem::derive_key_pair(ikm),
            Self::XWing => xwing::derive_key_pair(ikm),
        }
    }

    /// A new shared secret, and the output that carries it to the owner of `public_key`.
    pub(super) fn encapsulate(self, public_key: &[u8]) -> Result<(Secret, Vec<u8>), HpkeKeyError> {
        match self {
            Self::X25519 => dhkem::encapsulate(public_key),
            Self::XWing => xwing::encapsulate(public_key),
        }
    }

    /// The shared secret in `enc`.
    pub(super) fn decapsulate(self, enc: &[u8], private_key: &[u8]) -> Result<Secret, CryptoError> {
        match self {
            Self::X25519 => dhkem::decapsulate(enc, private_key),
            Self::XWing => xwing::decapsulate(enc, private_key),
        }
    }
}
