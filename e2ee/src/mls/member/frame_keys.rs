//! The keys of frames that a member seals and opens, and who speaks under them.

use confab_protocol::control::JoinId;
use confab_protocol::media::KeyId;

use super::Member;
use crate::keys::{BaseKey, BaseKeys};
use crate::mls::identity::Credential;

impl Member {
    /// Who speaks under a key id.
    pub fn speaker(&self, key_id: KeyId) -> Option<&Credential> {
        self.epochs.owner(key_id)
    }

    /// Which participant speaks under a key id; `None` while control has not announced it.
    pub fn participant(&self, key_id: KeyId) -> Option<JoinId> {
        let generation = self.epochs.generation(key_id)?;
        self.roster.participant(generation, key_id.leaf)
    }
}

impl BaseKeys for Member {
    fn sealing(&self) -> Option<KeyId> {
        self.epochs.sealing().filter(|_| self.may_speak())
    }

    fn is_own(&self, key_id: KeyId) -> bool {
        self.epochs.is_own(key_id)
    }

    fn base_key(&self, key_id: KeyId) -> Option<BaseKey> {
        self.epochs.base_key(key_id)
    }

    fn revision(&self) -> u64 {
        self.epochs.revision()
    }
}
