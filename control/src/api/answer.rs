//! Gives answers to a client, and to none for longer than it takes them: what waits to be taken is bounded, for a connection and for an
//! account.

use std::time::Duration;

use bytes::Bytes;
use confab_protocol::control::MAX_RESPONSE;
use quinn::SendStream;

use crate::clients::share::{Budget, Reservation};

/// Bytes of answers that a connection has not taken: two of the largest.
pub(super) const MAX_UNREAD: usize = 2 * MAX_RESPONSE;
/// A client that takes nothing for so long does not read.
const DEADLINE: Duration = Duration::from_secs(30);
/// What is to be taken within [`DEADLINE`]: a client on a slow line is not one that does not read.
const CHUNK: usize = 16 * 1024;

/// The client does not read its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotRead;

/// Bytes that wait for a client to take them.
pub(super) struct PendingAnswer {
    bytes: Bytes,
    _spent: [Option<Reservation>; 2],
}

impl PendingAnswer {
    /// An answer, if there is room for it among those that its connection and its account have not taken.
    pub(super) fn new(
        bytes: Bytes,
        connection: &Budget,
        account: Option<&Budget>,
    ) -> Result<Self, NotRead> {
        let len = bytes.len();
        let of_connection = connection.reserve(len).ok_or(NotRead)?;
        let of_account = account.map(|budget| budget.reserve(len).ok_or(NotRead));
        Ok(Self {
            bytes,
            _spent: [Some(of_connection), of_account.transpose()?],
        })
    }

    /// Resolves when the client has taken it all, or has gone.
    pub(super) async fn send_to(mut self, send: &mut SendStream) -> Result<(), NotRead> {
        while !self.bytes.is_empty() {
            let piece = self.bytes.split_to(self.bytes.len().min(CHUNK));
            let writing = tokio::time::timeout(DEADLINE, send.write_chunk(piece));
            match writing.await {
                Ok(Ok(())) => {}
                // A client that has gone, or does not want it, needs no answer.
                Ok(Err(_)) => return Ok(()),
                Err(_) => return Err(NotRead),
            }
        }
        let _ = send.finish();
        let taken = tokio::time::timeout(DEADLINE, send.stopped()).await;
        taken.map(drop).map_err(|_| NotRead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::share;

    #[test]
    fn unread_answers_are_bounded_per_connection_and_per_account() {
        let largest = || Bytes::from(vec![0; MAX_RESPONSE]);
        let account = Budget::new(share::MAX_UNREAD);
        let mut waiting = Vec::new();
        let mut connections = Vec::new();
        for _ in 0..4 {
            let connection = Budget::new(MAX_UNREAD);
            for _ in 0..2 {
                waiting.push(PendingAnswer::new(largest(), &connection, Some(&account)).ok());
            }
            assert!(PendingAnswer::new(largest(), &connection, None).is_err());
            connections.push(connection);
        }
        assert!(waiting.iter().all(Option::is_some));
        let fresh = Budget::new(MAX_UNREAD);
        assert!(PendingAnswer::new(largest(), &fresh, Some(&account)).is_err());
        // What found no place took none.
        waiting.pop();
        assert!(PendingAnswer::new(largest(), &fresh, Some(&account)).is_ok());
        assert!(PendingAnswer::new(largest(), &connections[3], Some(&account)).is_ok());
    }
}
