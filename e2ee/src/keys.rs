//! Where frame keys come from.

use confab_protocol::media::KeyId;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Where the members' base keys come from: the one thing that a different key agreement has to replace.
pub trait BaseKeys {
    /// The key id under which this member seals now; `None` while it has no key.
    fn sealing(&self) -> Option<KeyId>;

    /// The base key of `key_id`: one's own, or that of a member who may be heard. `None` when nobody has it.
    ///
    /// The same base key must never be given for two sessions that both count frames from zero.
    fn base_key(&self, key_id: KeyId) -> Option<BaseKey>;

    /// True if `key_id` is one under which this member seals or has sealed: nobody else may.
    fn is_own(&self, key_id: KeyId) -> bool;

    /// Another number whenever [`base_key`](Self::base_key) may answer otherwise than before.
    fn revision(&self) -> u64;
}

/// An SFrame base key (RFC 9605 §4.4.2): 16 bytes, as long as the AEAD's own keys (§5.2).
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct BaseKey([u8; BaseKey::LEN]);

impl BaseKey {
    /// Bytes of a key.
    pub const LEN: usize = 16;

    /// Takes a key over.
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn reveal(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl std::fmt::Debug for BaseKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BaseKey(…)")
    }
}
