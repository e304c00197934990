//! The door to the network: the core hands chunks of datagrams to it.

use std::time::Duration;

use confab_protocol::media::downlink::HEADER_LEN;

use super::packet::KernelTime;
use super::path::FourTuple;

/// Datagrams handed to a [`Transport`] at once, at most: one room's turn.
pub const CHUNK: usize = 64;

/// A datagram to send: a header of the receiver's own, then up to two pieces that are shared.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Where to, and from which of the relay's addresses.
    pub to: FourTuple,
    /// The first bytes.
    pub head: [u8; HEADER_LEN],
    /// The bytes after them; a piece may be empty.
    pub body: [&'a [u8]; 2],
}

/// How far a chunk got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendStatus {
    /// All of it was sent.
    All,
    /// The first `sent` were; the socket takes no more now.
    WouldBlock {
        /// How many.
        sent: usize,
    },
    /// The first `sent` were; the one after them was refused and will always be.
    Refused {
        /// How many.
        sent: usize,
    },
}

/// Sends datagrams.
pub trait Transport {
    /// Sends a chunk of audio, in order, of [`CHUNK`] datagrams at most.
    fn send(&mut self, chunk: &[Outgoing<'_>]) -> SendStatus;

    /// Sends a datagram that is not audio. A driver that has several ways takes the one for it by which the system notices
    /// what becomes of it.
    fn reply(&mut self, reply: &Outgoing<'_>) -> SendStatus {
        self.send(std::slice::from_ref(reply))
    }

    /// Time since the kernel received something; `None` where nobody measures it.
    fn elapsed(&self, received: KernelTime) -> Option<Duration> {
        let _ = received;
        None
    }
}

impl Outgoing<'_> {
    /// Bytes of UDP payload.
    pub fn len(&self) -> usize {
        self.head.len() + self.body[0].len() + self.body[1].len()
    }

    /// Never true: a datagram has a header.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The datagram in one piece, for transports that are not about speed.
    pub fn to_vec(&self) -> Vec<u8> {
        [&self.head, self.body[0], self.body[1]].concat()
    }
}
