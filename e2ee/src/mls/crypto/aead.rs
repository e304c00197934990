//! AES-128-GCM (RFC 5116 §5.1), the tag after the ciphertext.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use openmls_traits::types::CryptoError;

/// Bytes of a key.
pub(super) const KEY_LEN: usize = 16;

/// Bytes of the tag.
const TAG_LEN: usize = 16;

/// `ciphertext · tag`. [`CryptoError::InvalidLength`] for a key that has not 16 bytes or a nonce that has not 12.
pub(super) fn seal(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let (key, nonce) = parse(key, nonce)?;
    // Room for the tag from the start: a plaintext that moves leaves a copy behind.
    let mut sealed = Vec::with_capacity(plaintext.len() + TAG_LEN);
    sealed.extend_from_slice(plaintext);
    key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed)
        .map_err(|_| CryptoError::TooMuchData)?;
    Ok(sealed)
}

/// The plaintext of `ciphertext · tag`. Errors as those of [`seal`], and [`CryptoError::AeadDecryptionError`].
pub(super) fn open(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let (key, nonce) = parse(key, nonce)?;
    let mut opened = sealed.to_vec();
    let len = key
        .open_in_place(nonce, Aad::from(aad), &mut opened)
        .map_err(|_| CryptoError::AeadDecryptionError)?
        .len();
    opened.truncate(len);
    Ok(opened)
}

fn parse(key: &[u8], nonce: &[u8]) -> Result<(LessSafeKey, Nonce), CryptoError> {
    let key = UnboundKey::new(&AES_128_GCM, key).map_err(|_| CryptoError::InvalidLength)?;
    let nonce: [u8; NONCE_LEN] = nonce.try_into().map_err(|_| CryptoError::InvalidLength)?;
    Ok((LessSafeKey::new(key), Nonce::assume_unique_for_key(nonce)))
}
