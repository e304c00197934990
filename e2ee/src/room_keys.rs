//! Base keys from a room's secret, which control gives to each member, and from each join's id.
//!
//! `base key = HKDF-SHA-256(salt = "", key = room secret, info = "Confab 1.0 frame base key" · join id)`, 16 bytes.
//! A join id is fresh for every join, so a member who comes back never counts frames from zero under an old key.
//! Control knows the secret: this protects frames from relays and from the network, not from control.

use std::collections::HashMap;

use aws_lc_rs::hkdf;
use confab_protocol::control::{JoinId, RoomSecret};
use confab_protocol::media::KeyId;

use crate::keys::{BaseKey, BaseKeys};

const LABEL: &[u8] = b"Confab 1.0 frame base key";

/// The base keys of a room whose members share one secret.
///
/// Generation and epoch of its key ids are 0: the keys of a join do not change while it lasts.
#[derive(Debug)]
pub struct RoomKeys {
    secret: RoomSecret,
    own_leaf: u32,
    members: HashMap<u32, JoinId>,
}

impl RoomKeys {
    /// The keys of a room in which one has just joined.
    pub fn new(secret: RoomSecret, own_leaf: u32, own_join: JoinId) -> Self {
        Self {
            secret,
            own_leaf,
            members: HashMap::from([(own_leaf, own_join)]),
        }
    }

    /// From now on `leaf` is the member who joined as `join`.
    ///
    /// Where the leaf was somebody else's before, [`FrameCipher::forget`](crate::FrameCipher::forget) it too.
    pub fn set_member(&mut self, leaf: u32, join: JoinId) {
        self.members.insert(leaf, join);
    }

    /// From now on nobody is heard as `leaf`.
    pub fn remove_member(&mut self, leaf: u32) {
        self.members.remove(&leaf);
    }
}

impl BaseKeys for RoomKeys {
    fn sealing(&self) -> Option<KeyId> {
        Some(KeyId::new(self.own_leaf, 0, 0))
    }

    fn base_key(&self, key_id: KeyId) -> Option<BaseKey> {
        if key_id.generation != 0 || key_id.epoch != 0 {
            return None;
        }
        let join = self.members.get(&key_id.leaf)?;
        Some(derive(&self.secret, join))
    }
}

fn derive(secret: &RoomSecret, join: &JoinId) -> BaseKey {
    let mut key = [0; BaseKey::LEN];
    hkdf::Salt::new(hkdf::HKDF_SHA256, &[])
        .extract(secret.reveal())
        .expand(&[LABEL, join.as_bytes()], KeyLen)
        .and_then(|okm| okm.fill(&mut key))
        .expect("HKDF gives 16 bytes of any secret");
    BaseKey::new(key)
}

struct KeyLen;

impl hkdf::KeyType for KeyLen {
    fn len(&self) -> usize {
        BaseKey::LEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(n: u8) -> JoinId {
        JoinId::new([n; 16])
    }

    #[test]
    fn each_join_and_each_room_has_a_key_of_its_own() {
        let mut keys = RoomKeys::new(RoomSecret::new([1; 32]), 4, join(1));
        let first = keys.base_key(KeyId::new(4, 0, 0)).unwrap();
        keys.set_member(4, join(2));
        assert_ne!(keys.base_key(KeyId::new(4, 0, 0)).unwrap(), first);
        let elsewhere = RoomKeys::new(RoomSecret::new([2; 32]), 4, join(1));
        assert_ne!(elsewhere.base_key(KeyId::new(4, 0, 0)).unwrap(), first);
    }

    #[test]
    fn keys_of_a_former_member_and_of_another_epoch_are_unknown() {
        let mut keys = RoomKeys::new(RoomSecret::new([1; 32]), 0, join(1));
        keys.set_member(7, join(2));
        assert!(keys.base_key(KeyId::new(7, 0, 0)).is_some());
        assert_eq!(keys.base_key(KeyId::new(7, 0, 1)), None);
        assert_eq!(keys.base_key(KeyId::new(7, 1, 0)), None);
        keys.remove_member(7);
        assert_eq!(keys.base_key(KeyId::new(7, 0, 0)), None);
    }
}
