//! Keys and labels by HKDF-SHA-256 (RFC 5869), of lengths that AWS-LC has no type for.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::hmac;

/// The key of an HMAC-SHA-256, derived from the cluster's key for one purpose.
pub(crate) fn hmac_key(salt: &[u8], key: &[u8; 32], label: &[u8]) -> hmac::Key {
    let (prk, info) = (extract(salt, key), [label]);
    let okm = prk.expand(&info, hmac::HMAC_SHA256);
    hmac::Key::from(okm.expect("the output is as long as one hash, within the limit of HKDF"))
}

/// HKDF-Extract: what the key gives under this salt.
pub(crate) fn extract(salt: &[u8], key: &[u8]) -> Prk {
    Salt::new(HKDF_SHA256, salt).extract(key)
}

/// HKDF-Expand: fills `out`, which has a few bytes.
pub(crate) fn expand(prk: &Prk, info: &[&[u8]], out: &mut [u8]) {
    prk.expand(info, OutputLen(out.len()))
        .and_then(|expanded| expanded.fill(out))
        .expect("HKDF gives a few bytes of any key");
}

struct OutputLen(usize);

impl KeyType for OutputLen {
    fn len(&self) -> usize {
        self.0
    }
}
