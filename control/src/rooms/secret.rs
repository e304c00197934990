//! What is derived from the secret that the members of a room share while they gather. It is random, and in no store: it
//! travels to the members and, sealed, in the notes of their media sessions.

use aws_lc_rs::hkdf;
use confab_protocol::control::{AccountId, RoomSecret};

const LABEL: &[u8] = b"confab account label v1";

/// What a relay calls an account within one parameters: the same for all of the account's sessions, and of no meaning
/// elsewhere.
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
