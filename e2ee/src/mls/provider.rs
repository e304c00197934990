//! Primitives and storage in one value.

use openmls_traits::OpenMlsProvider;

use crate::mls::crypto::Crypto;
use crate::mls::storage::Storage;

/// What `openmls` needs for one member's groups, or for control's view of them.
///
/// Everything is in memory: a member's keys end with the provider, and `MlsGroup::load` finds nothing.
#[derive(Debug, Default)]
pub struct Provider {
    crypto: Crypto,
    storage: Storage,
}

impl Provider {
    /// A provider with an empty storage.
    pub fn new() -> Self {
        Self::default()
    }
}

impl OpenMlsProvider for Provider {
    type CryptoProvider = Crypto;
    type RandProvider = Crypto;
    type StorageProvider = Storage;

    fn storage(&self) -> &Storage {
        &self.storage
    }

    fn crypto(&self) -> &Crypto {
        &self.crypto
    }

    fn rand(&self) -> &Crypto {
        &self.crypto
    }
}
