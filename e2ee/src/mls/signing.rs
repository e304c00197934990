//! Ed25519 keys that sign: devices, leaves, the delivery service.

use aws_lc_rs::rand;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use openmls_traits::signatures::{Signer, SignerError};
use openmls_traits::types::SignatureScheme;
use zeroize::Zeroizing;

use super::crypto::ed25519;

/// Bytes of a public key.
pub const PUBLIC_KEY_LEN: usize = ed25519::PUBLIC_KEY_LEN;

/// Bytes of a signature.
pub const SIGNATURE_LEN: usize = 64;

/// Bytes of the seed of a private key (RFC 8032 §5.1.5).
pub const SEED_LEN: usize = ed25519::SEED_LEN;

/// A private key of Ed25519 (RFC 8032).
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: [u8; PUBLIC_KEY_LEN],
}

impl SigningKey {
    /// A new key.
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        rand::fill(seed.as_mut()).expect("the system gives random bytes");
        Self::from_seed(&seed)
    }

    /// The key of a seed.
    pub fn from_seed(seed: &[u8; SEED_LEN]) -> Self {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).expect("each seed of 32 bytes is a key");
        let public = pair
            .public_key()
            .as_ref()
            .try_into()
            .expect("public keys of Ed25519 have 32 bytes");
        Self { pair, public }
    }

    /// Its public key.
    pub const fn public(&self) -> &[u8; PUBLIC_KEY_LEN] {
        &self.public
    }

    /// The signature of `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.pair
            .sign(message)
            .as_ref()
            .try_into()
            .expect("signatures of Ed25519 have 64 bytes")
    }
}

/// True if `signature` is that of `message` by the owner of `public`.
pub fn is_signed_by(public: &[u8; PUBLIC_KEY_LEN], message: &[u8], signature: &[u8]) -> bool {
    ed25519::verify(public, message, signature).is_ok()
}

impl Signer for SigningKey {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(self.sign(payload).to_vec())
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(..)")
    }
}
