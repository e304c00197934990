//! Device cookies: proof at a log-in that the account has signed in from this device before. No I/O.
//!
//! Wrong passwords from unknown devices throttle log-ins from unknown devices only: a device with a cookie has its own rate limit
//! (OWASP, "Slow down online guessing attacks with device cookies"). Cookies are not stored and do not expire. A cookie grants no
//! access; a thief of a cookie may try as many passwords for one account as any other source.
//!
//! A cookie is 64 bytes: `account (16) · nonce (16) · tag (32)`. The tag is HMAC-SHA-256 over the rest, under a key that
//! HKDF-SHA-256 derives from the cluster's key, so that every node can verify it.

use aws_lc_rs::hmac;
use bytes::Bytes;
use confab_protocol::control::AccountId;

use crate::{hkdf, random};

/// Length of a cookie in bytes.
pub const COOKIE_LEN: usize = 2 * ID_LEN + TAG_LEN;

const ID_LEN: usize = 16;
const TAG_LEN: usize = 32;
const SALT: &[u8] = b"confab device cookies v1";

/// Creates and verifies cookies. The same key on every node of a cluster.
pub struct CookieKey(hmac::Key);

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KnownDevice {
    pub account: AccountId,
    nonce: [u8; ID_LEN],
}

impl CookieKey {
    /// Derives the key from the cluster's key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hkdf::hmac_key(SALT, key, b"tag"))
    }

    /// Creates a cookie with a new nonce.
    pub fn create(&self, account: AccountId) -> Bytes {
        self.seal(KnownDevice {
            account,
            nonce: random::bytes(),
        })
    }

    /// The cookie of a device. It stays the same at every log-in: a new one each time would give the device a new rate limit each
    /// time.
    pub fn seal(&self, device: KnownDevice) -> Bytes {
        let mut out = Vec::with_capacity(COOKIE_LEN);
        out.extend_from_slice(device.account.as_bytes());
        out.extend_from_slice(&device.nonce);
        let tag = hmac::sign(&self.0, &out);
        out.extend_from_slice(tag.as_ref());
        out.into()
    }

    /// Verifies and parses a cookie; `None` if this cluster did not create it.
    pub fn open(&self, bytes: &[u8]) -> Option<KnownDevice> {
        let (signed, tag) = bytes.split_at_checked(2 * ID_LEN)?;
        hmac::verify(&self.0, signed, tag).ok()?;
        let (account, nonce) = signed.split_first_chunk::<ID_LEN>()?;
        Some(KnownDevice {
            account: AccountId::new(*account),
            nonce: nonce.try_into().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: AccountId = AccountId::new([1; 16]);

    #[test]
    fn a_cookie_is_64_bytes_and_a_changed_one_is_rejected() {
        let key = CookieKey::new(&[7; 32]);
        let cookie = key.create(ANN);
        assert_eq!(cookie.len(), 64);
        let device = key.open(&cookie).unwrap();
        assert_eq!(device.account, ANN);
        assert_eq!(key.seal(device), cookie);
        for at in 0..cookie.len() {
            let mut changed = cookie.to_vec();
            changed[at] ^= 1;
            assert_eq!(key.open(&changed), None, "byte {at}");
        }
        assert_eq!(key.open(&cookie[..63]), None);
        assert_eq!(key.open(&[&cookie[..], &[0]].concat()), None);
        assert_eq!(key.open(&[]), None);
        assert_eq!(CookieKey::new(&[8; 32]).open(&cookie), None);
    }

    #[test]
    fn every_device_has_another_cookie() {
        let key = CookieKey::new(&[7; 32]);
        assert_ne!(key.create(ANN), key.create(ANN));
    }
}
