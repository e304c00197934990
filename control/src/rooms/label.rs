//! Labels of accounts at relays. They are derived from a random key of each gathering, which is in no store: the notes of the room's media
//! sessions hold it sealed.

use confab_protocol::control::AccountId;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::hkdf;

const SALT: &[u8] = b"confab account label v1";

/// The key of a gathering's labels.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct LabelKey([u8; LabelKey::LEN]);

impl LabelKey {
    /// Bytes of a key.
    pub const LEN: usize = 16;

    /// Takes random bytes for a key.
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    pub(super) const fn reveal(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The label of an account at the relay: the same for all sessions of the account in one call, and without meaning elsewhere.
    pub(super) fn label(&self, account: AccountId) -> u32 {
        let mut label = [0; 4];
        let prk = hkdf::extract(SALT, &self.0);
        hkdf::expand(&prk, &[account.as_bytes()], &mut label);
        u32::from_be_bytes(label)
    }
}

impl std::fmt::Debug for LabelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LabelKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_one_label_in_a_gathering_and_another_elsewhere() {
        let (ann, bob) = (AccountId::new([1; 16]), AccountId::new([2; 16]));
        let (here, elsewhere) = (LabelKey::new([3; 16]), LabelKey::new([4; 16]));
        assert_eq!(here.label(ann), here.label(ann));
        assert_ne!(here.label(ann), here.label(bob));
        assert_ne!(here.label(ann), elsewhere.label(ann));
    }
}
