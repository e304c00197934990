//! Writes responses to a client. Bytes that the client has not read are bounded per connection and per account, and a client that
//! stops reading is disconnected.

use std::time::Duration;

use bytes::Bytes;
use confab_protocol::control::MAX_RESPONSE;
use quinn::SendStream;

use crate::clients::share::{Budget, Reservation};

/// Maximum of unread response bytes of a connection: two of the largest responses.
pub(super) const MAX_UNREAD: usize = 2 * MAX_RESPONSE;
/// Time limit for a client to read one [`CHUNK`].
const DEADLINE: Duration = Duration::from_secs(30);
/// Bytes to be read within [`DEADLINE`]. Small, so that a client on a slow line is not disconnected.
const CHUNK: usize = 16 * 1024;

/// The client has not read a chunk within [`DEADLINE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotRead;

/// A response that waits to be read.
pub(super) struct PendingAnswer {
    bytes: Bytes,
    _spent: [Option<Reservation>; 2],
}

impl PendingAnswer {
    /// Reserves room for a response in the budgets of connection and account; `None` if it is not there.
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

    /// Writes the response. Resolves when the client has read it or has closed the stream.
    pub(super) async fn send_to(mut self, send: &mut SendStream) -> Result<(), NotRead> {
        while !self.bytes.is_empty() {
            let piece = self.bytes.split_to(self.bytes.len().min(CHUNK));
            let writing = tokio::time::timeout(DEADLINE, send.write_chunk(piece));
            match writing.await {
                Ok(Ok(())) => {}
                // The client has disconnected or stopped the stream.
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
        // A refused response has reserved nothing.
        waiting.pop();
        assert!(PendingAnswer::new(largest(), &fresh, Some(&account)).is_ok());
        assert!(PendingAnswer::new(largest(), &connections[3], Some(&account)).is_ok());
    }
}
