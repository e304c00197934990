//! What can be wrong with a public key of HPKE.

use openmls_traits::types::{Ciphersuite, CryptoError};

/// Why a public key can't be encapsulated to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HpkeKeyError {
    /// Confab has no such suite.
    #[error("the cipher suite {0:?} is not supported")]
    UnsupportedSuite(Ciphersuite),
    /// The key has not as many bytes as its KEM's keys have.
    #[error("the key has {len} bytes instead of {expected}")]
    Length {
        /// Bytes of the key.
        len: usize,
        /// Bytes of every key of this KEM.
        expected: usize,
    },
    /// A coefficient of the ML-KEM key is not below the modulus (FIPS 203 §7.2).
    #[error("the ML-KEM key has a coefficient that is not below the modulus")]
    NotReduced,
    /// The X25519 key is a point of low order: every secret that is agreed with it is zero (RFC 9180 §7.1.4).
    #[error("the X25519 key is a point of low order")]
    LowOrder,
    /// AWS-LC failed: no memory, or no random bytes.
    #[error("the cryptographic library failed")]
    Library,
}

impl From<HpkeKeyError> for CryptoError {
    fn from(error: HpkeKeyError) -> Self {
        match error {
            HpkeKeyError::UnsupportedSuite(_) => Self::UnsupportedCiphersuite,
            HpkeKeyError::Length { .. } | HpkeKeyError::NotReduced | HpkeKeyError::LowOrder => {
                Self::InvalidPublicKey
            }
            HpkeKeyError::Library => Self::CryptoLibraryError,
        }
    }
}
