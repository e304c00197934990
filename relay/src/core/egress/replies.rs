//! Datagrams that are not audio and wait to be sent: challenges, pongs and byes.

use std::collections::VecDeque;

use arrayvec::ArrayVec;
use confab_protocol::media::downlink::HEADER_LEN;

use crate::core::path::FourTuple;
use crate::core::transport::Outgoing;

/// Replies that may wait to be sent. More are dropped: their clients ask again.
const MAX_REPLIES: usize = 4096;

/// Longest body of a datagram that is not audio: a pong's, in bytes.
const MAX_BODY: usize = 16;

/// Datagrams that are not audio and wait to be sent, oldest first. There is room for all from the begin: a packet that is
/// answered allocates nothing.
pub(super) struct Replies(VecDeque<Reply>);

struct Reply {
    to: FourTuple,
    head: [u8; HEADER_LEN],
    body: ArrayVec<u8, MAX_BODY>,
}

impl Default for Replies {
    fn default() -> Self {
        Self(VecDeque::with_capacity(MAX_REPLIES))
    }
}

impl Replies {
    /// Queues a whole datagram. A length that no reply has does not compile.
    pub(super) fn push<const LEN: usize>(&mut self, to: FourTuple, datagram: &[u8; LEN]) {
        const { assert!(HEADER_LEN <= LEN && LEN <= HEADER_LEN + MAX_BODY) }
        let Some((head, rest)) = datagram.split_first_chunk() else {
            return;
        };
        let Ok(body) = ArrayVec::try_from(rest) else {
            return;
        };
        if self.0.len() < MAX_REPLIES {
            let head = *head;
            self.0.push_back(Reply { to, head, body });
        }
    }

    /// The oldest reply.
    pub(super) fn first(&self) -> Option<Outgoing<'_>> {
        self.0.front().map(|reply| Outgoing {
            to: reply.to,
            head: reply.head,
            body: [&reply.body, &[]],
        })
    }

    /// Removes the oldest reply.
    pub(super) fn pop(&mut self) {
        self.0.pop_front();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
