//! The key of the delivery service: the same at all nodes, and derived from the cluster's key. Members know its public half, and take
//! proposals from nobody else.

use confab_e2ee::mls::Suite;
use confab_e2ee::mls::delivery::DeliveryConfig;
use confab_e2ee::mls::identity::ServerId;
use confab_e2ee::mls::signing::{PUBLIC_KEY_LEN, SEED_LEN, SigningKey};
use confab_protocol::control::ConferenceId;
use zeroize::Zeroizing;

use crate::hkdf;

const SALT: &[u8] = b"confab delivery service v1";

/// Makes the delivery services of rooms.
#[derive(Clone)]
pub struct GroupKeys {
    server: ServerId,
    seed: Zeroizing<[u8; SEED_LEN]>,
    public: [u8; PUBLIC_KEY_LEN],
    suite: Suite,
}

impl GroupKeys {
    /// The key that is derived from the cluster's key, at the server with this authority (SHA-256 of its certificate). Groups use
    /// `suite`.
    pub fn new(key: &[u8; 32], authority: &[u8; 32], suite: Suite) -> Self {
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        hkdf::expand(&hkdf::extract(SALT, key), &[b"seed"], seed.as_mut());
        let public = *SigningKey::from_seed(&seed).public();
        Self {
            server: ServerId::of_authority(authority),
            seed,
            public,
            suite,
        }
    }

    /// The public key that members get.
    pub(super) fn public(&self) -> [u8; PUBLIC_KEY_LEN] {
        self.public
    }

    /// The settings of a room's delivery service.
    pub(super) fn of(
        &self,
        conference: ConferenceId,
        era: u64,
        first_generation: u64,
    ) -> DeliveryConfig {
        DeliveryConfig {
            server: self.server,
            conference,
            era,
            key: SigningKey::from_seed(&self.seed),
            first_generation,
            suite: self.suite,
        }
    }
}
