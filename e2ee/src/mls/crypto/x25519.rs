//! X25519 (RFC 7748 §5).

use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519};
use openmls_traits::types::CryptoError;

use super::kdf::Secret;
use super::key_error::HpkeKeyError;

/// Bytes of a private key, of a public key and of an agreed secret.
pub(super) const KEY_LEN: usize = 32;

/// A private key with its public key.
pub(super) struct KeyPair {
    private: agreement::PrivateKey,
    pub(super) public: [u8; KEY_LEN],
}

impl KeyPair {
    /// A new key pair.
    pub(super) fn generate() -> Result<Self, HpkeKeyError> {
        let mut private = Secret::default();
        aws_lc_rs::rand::fill(private.as_mut()).map_err(|_| HpkeKeyError::Library)?;
        Self::new(&private)
    }

    /// The key pair of a private key, which may be any 32 bytes.
    pub(super) fn new(private: &Secret) -> Result<Self, HpkeKeyError> {
        let private = agreement::PrivateKey::from_private_key(&X25519, private.as_ref())
            .map_err(|_| HpkeKeyError::Library)?;
        let public = private.compute_public_key();
        let public = public.map_err(|_| HpkeKeyError::Library)?;
        let public = public.as_ref().try_into();
        let public = public.map_err(|_| HpkeKeyError::Library)?;
        Ok(Self { private, public })
    }

    /// The secret that this private key shares with `public`. [`HpkeKeyError::LowOrder`] if it would be zero.
    pub(super) fn agree(&self, public: &[u8; KEY_LEN]) -> Result<Secret, HpkeKeyError> {
        let public = UnparsedPublicKey::new(&X25519, public);
        agreement::agree(&self.private, public, HpkeKeyError::LowOrder, |agreed| {
            let mut secret = Secret::default();
            secret.copy_from_slice(agreed);
            Ok(secret)
        })
    }
}

/// [`HpkeKeyError::LowOrder`] for a public key with which every agreed secret is zero.
///
/// Private keys are multiples of the cofactor, so that any of them shows it.
pub(super) fn check(public: &[u8; KEY_LEN]) -> Result<(), HpkeKeyError> {
    let private = Secret::new([1; KEY_LEN]);
    KeyPair::new(&private)?.agree(public).map(drop)
}

/// A private key from bytes. [`CryptoError::InvalidLength`] if there are not 32.
pub(super) fn parse_private(private: &[u8]) -> Result<Secret, CryptoError> {
    let mut secret = Secret::default();
    if private.len() != secret.len() {
        return Err(CryptoError::InvalidLength);
    }
    secret.copy_from_slice(private);
    Ok(secret)
}
