//! Keys in memory, wiped when they are dropped.
//!
//! What a running `MlsGroup` or `PublicGroup` (openmls 0.9) asks back from its storage, and what is kept:
//!
//! | kept | asked back | dropped |
//! |---|---|---|
//! | key packages with their private keys | when a Welcome is opened | by the Welcome, unless it is a last resort's |
//! | the key pairs of an epoch: the own leaf's and its path's | when a commit is processed or merged | when the next epoch is merged; with the group |
//! | key pairs of own leaves | when a commit with an own Update is processed | when that commit is merged |
//! | pre-shared keys | when a commit or Welcome names them | by [`StorageProvider::delete_psk`] alone |
//! | queued proposals | by `PublicGroup::queued_proposals` alone | when a commit is merged, or the queue cleared; with the group |
//!
//! Everything else is asked back by `MlsGroup::load` and `PublicGroup::load` alone. It is not kept: such a write succeeds,
//! such a read gives nothing. A signature key is refused, for whoever gives it away here would not see it again.
//!
//! Three things stay unless they are asked to go. A key package whose Welcome never comes stays until
//! [`StorageProvider::delete_key_package`]. A member that merges its own removal keeps the key pairs of its last epoch
//! until `MlsGroup::delete`. A member that proposes an Update which nobody commits keeps its key pair until
//! [`Storage::wipe`]. A staged commit that is cleared leaves nothing behind.
//!
//! [`StorageProvider::delete_key_package`]: openmls_traits::storage::StorageProvider::delete_key_package
//! [`StorageProvider::delete_psk`]: openmls_traits::storage::StorageProvider::delete_psk

mod provider;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// Why the storage did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A key or value can't be written as bytes.
    #[error("cannot encode a key or value: {0}")]
    Encode(#[source] postcard::Error),
    /// A value is not of the type that was asked for.
    #[error("cannot decode a value: {0}")]
    Decode(#[source] postcard::Error),
    /// Signature keys are kept elsewhere.
    #[error("signature keys are not kept here: keep the signer beside the group")]
    SignatureKey,
}

/// The storage of one provider.
///
/// It implements `StorageProvider`, and by that `PublicStorageProvider`.
#[derive(Default)]
pub struct Storage {
    held: Mutex<Held>,
}

impl Storage {
    /// Key packages, key pairs and pre-shared keys that are held. The key pairs of an epoch count as one.
    pub fn secrets(&self) -> usize {
        self.held().secrets.len()
    }

    /// Queued proposals of all groups that are held.
    pub fn proposals(&self) -> usize {
        self.held().proposals.values().map(Vec::len).sum()
    }

    /// Drops everything. The groups that used this storage can't process anything after it.
    pub fn wipe(&self) {
        *self.held() = Held::default();
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // No code that may panic runs between the steps of a change.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage")
            .field("secrets", &self.secrets())
            .field("proposals", &self.proposals())
            .finish()
    }
}

/// A value as bytes.
type Bytes = Zeroizing<Vec<u8>>;

/// What is held.
#[derive(Default)]
struct Held {
    secrets: HashMap<(Kind, Vec<u8>), Bytes>,
    /// By the group's id, in the order in which they came.
    proposals: HashMap<Vec<u8>, Vec<Queued>>,
}

/// A queued proposal.
struct Queued {
    reference: Vec<u8>,
    proposal: Vec<u8>,
}

/// What a secret is for. Keys are unique for each kind alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    KeyPackage,
    EncryptionKeyPair,
    EpochKeyPairs,
    Psk,
}

impl Held {
    fn write_secret(
        &mut self,
        kind: Kind,
        key: &impl Serialize,
        value: &impl Serialize,
    ) -> Result<(), StorageError> {
        let (key, value) = (encode_public(key)?, encode(value)?);
        self.secrets.insert((kind, key), value);
        Ok(())
    }

    fn secret<T: DeserializeOwned>(
        &self,
        kind: Kind,
        key: &impl Serialize,
    ) -> Result<Option<T>, StorageError> {
        let value = self.secrets.get(&(kind, encode_public(key)?));
        value.map(|value| decode(value)).transpose()
    }

    /// Drops the key pairs of all epochs of one group. Their keys begin with the group's id, which tells its own length.
    fn delete_epochs(&mut self, group_id: &[u8]) {
        let of_group = |kind, key: &[u8]| kind == Kind::EpochKeyPairs && key.starts_with(group_id);
        self.secrets.retain(|(kind, key), _| !of_group(*kind, key));
    }

    fn delete_secret(&mut self, kind: Kind, key: &impl Serialize) -> Result<(), StorageError> {
        self.secrets.remove(&(kind, encode_public(key)?));
        Ok(())
    }
}

/// Two passes, so that the buffer never moves and leaves a copy behind.
fn encode(value: &(impl Serialize + ?Sized)) -> Result<Bytes, StorageError> {
    let size = postcard::ser_flavors::Size::default();
    let len = postcard::serialize_with_flavor(value, size).map_err(StorageError::Encode)?;
    let mut bytes = Zeroizing::new(vec![0; len]);
    postcard::to_slice(value, &mut bytes).map_err(StorageError::Encode)?;
    Ok(bytes)
}

/// The bytes of what everybody may see.
fn encode_public(value: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, StorageError> {
    encode(value).map(|mut bytes| std::mem::take(&mut *bytes))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StorageError> {
    postcard::from_bytes(bytes).map_err(StorageError::Decode)
}
