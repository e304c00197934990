//! Values that are derived from the secret of a room. The secret is random and in no store: participants get it with their join, and the notes
//! of their media sessions hold it sealed.

use aws_lc_rs::hkdf;
use confab_protocol::control::{AccountId, RoomSecret};

const LABEL: &[u8] = b"confab account label v1";

/// The label of an account at the relay: the same for all sessions of the account in one call, and without meaning elsewhere.
pub(super) fn account_label(secret: &RoomSecret, account: AccountId) -> u32 {
    let mut label = [0; 4];
    hkdf::Salt::new(hkdf::HKDF_SHA256, LABEL)
        .extract(secret.reveal())
        .expand(&[account.as_bytes()], LabelLen)
        .and_then(|expanded| expanded.fill(&mut label))
        .expect("HKDF gives 4 bytes of any key");
    u32::from_be_bytes(label)
}

struct LabelLen;

impl hkdf::KeyType for LabelLen {
    fn len(&self) -> usize {
        4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_one_label_in_a_gathering_and_another_elsewhere() {
        let (ann, bob) = (AccountId::new([1; 16]), AccountId::new([2; 16]));
        let (here, elsewhere) = (RoomSecret::new([3; 32]), RoomSecret::new([4; 32]));
        assert_eq!(account_label(&here, ann), account_label(&here, ann));
        assert_ne!(account_label(&here, ann), account_label(&here, bob));
        assert_ne!(account_label(&here, ann), account_label(&elsewhere, ann));
    }
}
