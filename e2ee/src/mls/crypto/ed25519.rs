//! Ed25519 (RFC 8032 §5.1).

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use openmls_traits::types::CryptoError;
use zeroize::Zeroizing;

/// Bytes of a private key, which is the seed of RFC 8032 §5.1.5.
pub(in crate::mls) const SEED_LEN: usize = 32;

/// Bytes of a public key.
pub(in crate::mls) const PUBLIC_KEY_LEN: usize = 32;

/// A new seed and its public key.
pub(super) fn generate() -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
    let mut seed = Zeroizing::new([0; SEED_LEN]);
    super::random(seed.as_mut())?;
    let public_key = parse(seed.as_ref())?.public_key().as_ref().to_vec();
    Ok((seed.to_vec(), public_key))
}

/// A signature of 64 bytes. [`CryptoError::InvalidLength`] for a seed that has not 32 bytes.
pub(super) fn sign(seed: &[u8], message: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let signature = parse(seed)?.try_sign(message);
    let signature = signature.map_err(|_| CryptoError::SigningError)?;
    Ok(signature.as_ref().to_vec())
}

/// [`CryptoError::InvalidPublicKey`] for a key that has not 32 bytes, else [`CryptoError::InvalidSignature`].
pub(in crate::mls) fn verify(
    public_key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), CryptoError> {
    // AWS-LC would take X.509 keys too. MLS has but one form of a key (RFC 9420 §5.1.1).
    if public_key.len() != PUBLIC_KEY_LEN {
        return Err(CryptoError::InvalidPublicKey);
    }
    UnparsedPublicKey::new(&ED25519, public_key)
        .verify(message, signature)
        .map_err(|_| CryptoError::InvalidSignature)
}

fn parse(seed: &[u8]) -> Result<Ed25519KeyPair, CryptoError> {
    if seed.len() != SEED_LEN {
        return Err(CryptoError::InvalidLength);
    }
    Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| CryptoError::CryptoLibraryError)
}
