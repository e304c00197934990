//! HKDF-SHA256 (RFC 5869), and its labeled form in HPKE (RFC 9180 §4).

use aws_lc_rs::{hkdf, hmac};
use openmls_traits::types::CryptoError;
use zeroize::Zeroizing;

use crate::hkdf::OutputLen;

/// Bytes of what SHA-256 gives.
pub(super) const HASH_LEN: usize = 32;

/// A secret that is wiped when it is dropped.
pub(super) type Secret = Zeroizing<[u8; HASH_LEN]>;

/// Bytes of a pseudorandom key that AWS-LC takes, at most.
const MAX_PRK_LEN: usize = 64;

const HPKE_VERSION: &[u8] = b"HPKE-v1";

/// HKDF-Extract (RFC 5869 §2.2), which is HMAC under the salt.
pub(super) fn extract(salt: &[u8], ikm: &[u8]) -> Secret {
    let mut prk = Secret::default();
    let key = hmac::Key::new(hmac::HMAC_SHA256, salt);
    hmac::sign_to_buffer(&key, ikm, prk.as_mut()).expect("the buffer holds a tag");
    prk
}

/// Fills `out` by HKDF-Expand (RFC 5869 §2.3). `info` are the pieces of one string.
///
/// [`CryptoError::InvalidLength`] for a `prk` of more than 64 bytes, and [`CryptoError::HkdfOutputLengthInvalid`] for
/// an `out` of more than 8160.
pub(super) fn expand(prk: &[u8], info: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
    if prk.len() > MAX_PRK_LEN {
        return Err(CryptoError::InvalidLength);
    }
    hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, prk)
        .expand(info, OutputLen(out.len()))
        .and_then(|okm| okm.fill(out))
        .map_err(|_| CryptoError::HkdfOutputLengthInvalid)
}

/// HKDF of one use in HPKE: what it gives is bound to the use's id.
pub(super) struct LabeledKdf<'a> {
    /// `suite_id` of RFC 9180, §4.1 for a KEM and §5.1 for HPKE.
    pub(super) suite_id: &'a [u8],
}

impl LabeledKdf<'_> {
    /// `LabeledExtract` of RFC 9180 §4.
    pub(super) fn extract(&self, salt: &[u8], label: &[u8], ikm: &[u8]) -> Secret {
        let labeled = Zeroizing::new([HPKE_VERSION, self.suite_id, label, ikm].concat());
        extract(salt, &labeled)
    }

    /// `LabeledExpand` of RFC 9180 §4. [`CryptoError::HkdfOutputLengthInvalid`] for an `out` of more than 8160 bytes.
    pub(super) fn expand(
        &self,
        prk: &Secret,
        label: &[u8],
        info: &[u8],
        out: &mut [u8],
    ) -> Result<(), CryptoError> {
        let len = u16::try_from(out.len()).map_err(|_| CryptoError::HkdfOutputLengthInvalid)?;
        let len = len.to_be_bytes();
        let info = [&len, HPKE_VERSION, self.suite_id, label, info];
        expand(prk.as_ref(), &info, out)
    }

    /// [`Self::expand`] to the few bytes of a key or nonce.
    pub(super) fn expand_array<const N: usize>(
        &self,
        prk: &Secret,
        label: &[u8],
        info: &[u8],
    ) -> Zeroizing<[u8; N]> {
        const { assert!(N <= HASH_LEN) };
        let mut key = Zeroizing::new([0; N]);
        self.expand(prk, label, info, key.as_mut())
            .expect("HKDF gives 32 bytes of any secret");
        key
    }
}
