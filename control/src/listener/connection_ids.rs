//! Connection ids (RFC 9000 §5.1), random in all their bytes.
//!
//! Of quinn's own, three bytes of eight are random. The id that a retry gives is not looked up among those that are in use, so that with
//! thousands of connections one retry in some thousands gave the id of another connection: the client's handshake reached that one, and
//! was never answered.

use std::time::Duration;

use quinn::{ConnectionId, ConnectionIdGenerator};

use crate::random;

/// Bytes of an id.
const LEN: usize = 8;

/// Gives ids that no other connection has.
pub struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&random::bytes::<LEN>())
    }

    fn cid_len(&self) -> usize {
        LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_hundred_thousand_ids_are_distinct() {
        let ids: HashSet<_> = (0..100_000).map(|_| RandomIds.generate_cid()).collect();
        assert_eq!(ids.len(), 100_000);
    }
}
