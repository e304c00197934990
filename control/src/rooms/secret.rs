//! What the people of a room derive their frame keys from: the same at every node, so that a room outlives its owner.

use aws_lc_rs::hkdf;
use confab_protocol::control::{ConferenceId, RoomSecret};

const SALT: &[u8] = b"confab room secrets v1";

/// Derives the secrets of rooms from a key that all nodes of a server share (HKDF with SHA-256, RFC 5869).
#[derive(Clone)]
pub struct RoomSecrets(hkdf::Prk);

impl RoomSecrets {
    /// Takes the cluster's key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(key))
    }

    /// The secret of those who gather in a conference since that era.
    pub fn of(&self, conference: ConferenceId, gathered: u64) -> RoomSecret {
        let mut secret = [0; RoomSecret::LEN];
        let info: [&[u8]; 2] = [conference.as_bytes(), &gathered.to_be_bytes()];
        self.0
            .expand(&info, hkdf::HKDF_SHA256)
            .and_then(|expanded| expanded.fill(&mut secret))
            .expect("as many bytes as the hash has");
        RoomSecret::new(secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gathering_has_a_secret_of_its_own_and_every_node_the_same() {
        let (one, other) = (ConferenceId::new([1; 16]), ConferenceId::new([2; 16]));
        let secrets = RoomSecrets::new(&[7; 32]);
        assert_eq!(secrets.of(one, 1), RoomSecrets::new(&[7; 32]).of(one, 1));
        assert_ne!(secrets.of(one, 1), secrets.of(one, 2));
        assert_ne!(secrets.of(one, 1), secrets.of(other, 1));
        assert_ne!(secrets.of(one, 1), RoomSecrets::new(&[8; 32]).of(one, 1));
    }
}
