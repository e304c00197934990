//! Random connection IDs (RFC 9000 §5.1).
//!
//! Of the IDs that quinn generates, three of eight bytes are random. The ID of a Retry is not compared with those in use, so with
//! thousands of connections one Retry in some thousands had the ID of another connection: the client's handshake reached that
//! connection and was never answered.

use std::time::Duration;

use quinn::{ConnectionId, ConnectionIdGenerator};

use crate::random;

/// Length of an ID in bytes.
const LEN: usize = 8;

/// Generates IDs of which all bytes are random.
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
