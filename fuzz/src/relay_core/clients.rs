//! The model of the clients: sessions, the frames that they sealed, and the datagrams that they sent.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use confab_protocol::media::{AudioLevel, ConnectionId, HopKey};

/// A session that control has opened, and what its client and its judge know of it.
pub(super) struct Client {
    pub(super) id: ConnectionId,
    pub(super) room: u8,
    pub(super) sender: u16,
    /// The leaf under which it sends: its own, if it has not been given to another participant.
    pub(super) leaf: u32,
    pub(super) has_leaf: bool,
    pub(super) first_epoch: u64,
    pub(super) may_speak: bool,
    pub(super) uplink: HopKey,
    pub(super) downlink: HopKey,
    pub(super) opened: u64,
    /// At its worker.
    pub(super) known: bool,
    /// By control, or by the relay itself: what it sends counts for nothing.
    pub(super) closed: bool,
    /// At its worker: nothing is sent to it.
    pub(super) over: Option<u64>,
    pub(super) next: u32,
    pub(super) counter: u64,
    pub(super) last_heard: Option<u32>,
    pub(super) contacted: HashSet<SocketAddr>,
    pub(super) challenges: Vec<(SocketAddr, [u8; 8])>,
    /// Addresses from which challenges were answered, and when that was last, by the workers' time.
    pub(super) proved: HashMap<SocketAddr, Duration>,
    /// When it answered last, or came to its worker.
    pub(super) alive: Duration,
}

/// The epochs of a room's group, in generation 0.
#[derive(Default)]
pub(super) struct Group {
    /// The newest one that the relay knows.
    pub(super) newest: u64,
    /// The newest one that has retired.
    pub(super) retired: Option<u64>,
}

impl Group {
    /// The epoch that these bits of a key id stand for.
    pub(super) fn epoch(&self, bits: u8) -> Option<u64> {
        let mut near = self.newest.saturating_sub(128)..self.newest + 128;
        near.find(|epoch| *epoch as u8 == bits)
    }
}

/// A datagram that came to the relay.
pub(super) struct Sent {
    pub(super) from: SocketAddr,
    pub(super) datagram: Vec<u8>,
}

/// A frame that a client has sealed.
pub(super) struct Frame {
    pub(super) client: usize,
    pub(super) level: AudioLevel,
    /// When it came to the relay, if it was one to be forwarded then.
    pub(super) taken: Option<u64>,
    pub(super) heard_by: HashSet<usize>,
}
