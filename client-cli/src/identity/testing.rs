//! People with devices, for tests.

use confab_e2ee::mls::identity::{
    Credential, DeviceKey, DevicePublicKey, Endorsement, ServerId, Subject,
};
use confab_e2ee::mls::signing::SigningKey;
use confab_e2ee::mls::suite::Suite;
use confab_protocol::control::{AccountId, ConferenceId, Username};

/// The server of all tests.
pub(crate) const SERVER: ServerId = ServerId([7; 16]);

/// Somebody on one device.
pub(crate) struct Person {
    pub(crate) account: AccountId,
    pub(crate) name: Username,
    pub(crate) device: DeviceKey,
}

impl Person {
    /// The account of this number, on a new device.
    pub(crate) fn new(account: u32, name: &str) -> Self {
        Self {
            account: cheap(account, 0).0,
            name: name.parse().unwrap(),
            device: DeviceKey::generate(),
        }
    }

    /// What the leaf of a join shows.
    pub(crate) fn credential(&self) -> Credential {
        endorsed(self, &[])
    }
}

/// The same with other devices of the account vouching for it.
pub(crate) fn endorsed(person: &Person, by: &[&Person]) -> Credential {
    let subject = Subject {
        server: SERVER,
        account: person.account,
        username: person.name.clone(),
        conference: ConferenceId::new([3; 16]),
    };
    let device = person.device.public();
    let endorse =
        |older: &&Person| Endorsement::sign(&older.device, SERVER, person.account, device);
    let endorsements: Vec<_> = by.iter().map(endorse).collect();
    let leaf = SigningKey::generate();
    let suite = Suite::PostQuantum;
    Credential::sign(
        &person.device,
        &subject,
        suite,
        leaf.public(),
        &endorsements,
    )
}

/// Ids by number, without a signature.
pub(crate) fn cheap(account: u32, device: u32) -> (AccountId, DevicePublicKey) {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&account.to_be_bytes());
    let mut key = [0; 32];
    key[..4].copy_from_slice(&account.to_be_bytes());
    key[4..8].copy_from_slice(&device.to_be_bytes());
    (AccountId::new(id), DevicePublicKey(key))
}
