//! What a room asks of its node, synchronously.

use std::time::Instant;

use confab_protocol::version::VersionRange;

use super::ownership_check::LeaseEpoch;
use crate::cluster::{LinkedRelay, RelayCriteria};

/// The node_world of a room, asked synchronously.
pub trait World {
    /// A linked relay that fits the wish.
    fn pick_relay(&mut self, wish: &RelayCriteria<'_>) -> Option<LinkedRelay>;
    /// The highest version of media datagrams that a client, this node and at least one relay speak; that the client and this node speak if no
    /// relay is linked.
    fn media_version(&mut self, theirs: VersionRange) -> Option<u32>;
    /// The relay did not open a media session in time: other rooms should prefer another one.
    fn note_unanswered(&mut self, relay: &LinkedRelay);
    /// The node's current lease epoch, or `None` if its lease may have expired.
    fn lease_epoch(&mut self, now: Instant) -> LeaseEpoch;
    /// Fills `bytes` with cryptographically secure random bytes.
    fn random(&mut self, bytes: &mut [u8]);
}
