//! Base keys that somebody else has made: for tests, measurements and test vectors, which have no group.

use std::collections::HashMap;

use confab_protocol::media::KeyId;

use crate::keys::{BaseKey, BaseKeys};

/// Base keys by key id. Nobody else gets to know of them by this type.
#[derive(Debug)]
pub struct FixedKeys {
    own: KeyId,
    keys: HashMap<KeyId, BaseKey>,
    revision: u64,
}

impl FixedKeys {
    /// Seals under `own` with `key`, and opens nothing.
    pub fn new(own: KeyId, key: BaseKey) -> Self {
        Self {
            own,
            keys: HashMap::from([(own, key)]),
            revision: 0,
        }
    }

    /// From now on frames under `key_id` have this key.
    pub fn set(&mut self, key_id: KeyId, key: BaseKey) {
        self.revision += 1;
        self.keys.insert(key_id, key);
    }

    /// From now on nobody is heard under `key_id`.
    pub fn remove(&mut self, key_id: KeyId) {
        self.revision += 1;
        self.keys.remove(&key_id);
    }
}

impl BaseKeys for FixedKeys {
    fn sealing(&self) -> Option<KeyId> {
        Some(self.own)
    }

    fn base_key(&self, key_id: KeyId) -> Option<BaseKey> {
        self.keys.get(&key_id).cloned()
    }

    fn is_own(&self, key_id: KeyId) -> bool {
        key_id == self.own
    }

    fn revision(&self) -> u64 {
        self.revision
    }
}
