//! The way to the network: brings batches of datagrams to the core and takes chunks of datagrams from it.

use std::io;
use std::time::Duration;

use confab_protocol::media::downlink::HEADER_LEN;

use super::packet::{KernelTime, Packet, PacketPool};
use super::path::FourTuple;

/// Datagrams handed to a [`Transport`] at once, at most: one room's turn.
pub const CHUNK: usize = 64;

/// A datagram to send: a header of the receiver's own, then up to two pieces that are shared.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The receiver's address, and the relay's address to send from.
    pub to: FourTuple,
    /// The first bytes.
    pub head: [u8; HEADER_LEN],
    /// The bytes after them; a piece may be empty.
    pub body: [&'a [u8]; 2],
}

/// The result of sending a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendStatus {
    /// All of it was sent.
    All,
    /// The first `sent` were; the socket takes no more now.
    WouldBlock {
        /// Count of datagrams that were sent.
        sent: usize,
    },
    /// The first `sent` were; the one after them was refused and will always be.
    Refused {
        /// Count of datagrams that were sent.
        sent: usize,
    },
}

/// A worker's sockets.
pub trait Transport {
    /// Receives datagrams that are there, one batch at most, into buffers of `pool`, and appends them to `received`.
    ///
    /// # Errors
    ///
    /// Errors after which the transport receives nothing more.
    fn receive(&mut self, pool: &mut PacketPool, received: &mut Vec<Box<Packet>>)
    -> io::Result<()>;

    /// Datagrams that the kernel dropped since the last call because the receive buffer was full, as far as it said so.
    fn take_kernel_drops(&mut self) -> u64 {
        0
    }

    /// Sends a chunk of audio, in order, of [`CHUNK`] datagrams at most.
    fn send(&mut self, chunk: &[Outgoing<'_>]) -> SendStatus;

    /// Sends a datagram that is not audio. A driver that has several ways takes the one for it by which the system notices
    /// what becomes of it.
    fn reply(&mut self, reply: &Outgoing<'_>) -> SendStatus {
        self.send(std::slice::from_ref(reply))
    }

    /// Datagrams that a packet socket sent since the last call, around the UDP stack.
    fn take_sent_by_packet(&mut self) -> u64 {
        0
    }

    /// Time since the kernel received a datagram; `None` if it is not measured.
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
