//! Who a leaf is: an account, on a device, by that device's signature.

mod credential;
mod entry;
mod hexadecimal;
mod safety_code;

pub use credential::{Credential, CredentialError, Endorsement, MAX_ENDORSEMENTS, Subject};
pub use entry::{EXPORTED_LEN, EXPORTER_LABEL};
pub use hexadecimal::NotHexadecimal;
pub use safety_code::{SafetyCode, device_code, room_code};

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use super::signing::{PUBLIC_KEY_LEN, SEED_LEN, SigningKey};

/// Names a server; every node of a cluster has the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ServerId(pub [u8; 16]);

impl ServerId {
    /// The server of a cluster authority, by the SHA-256 of its certificate: the first 16 bytes of it. Clients pin the authority.
    pub fn of_authority(digest: &[u8; 32]) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }
}

/// The public key of a device. Others pin it when they see it first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DevicePublicKey(pub [u8; PUBLIC_KEY_LEN]);

/// 64 hexadecimal digits.
impl Display for DevicePublicKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        hexadecimal::write(&self.0, f)
    }
}

impl FromStr for DevicePublicKey {
    type Err = NotHexadecimal;

    fn from_str(text: &str) -> Result<Self, NotHexadecimal> {
        hexadecimal::read(text).map(Self)
    }
}

/// The key of a device: made at the first login, and never sent.
#[derive(Debug)]
pub struct DeviceKey(SigningKey);

impl DeviceKey {
    /// A new key.
    pub fn generate() -> Self {
        Self(SigningKey::generate())
    }

    /// The key of a seed that was kept.
    pub fn from_seed(seed: &[u8; SEED_LEN]) -> Self {
        Self(SigningKey::from_seed(seed))
    }

    /// Its public key.
    pub fn public(&self) -> DevicePublicKey {
        DevicePublicKey(*self.0.public())
    }
}
