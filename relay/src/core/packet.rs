//! Receive buffers. A frame that is alone in its bundle is sent from the buffer in which it came.

use std::time::Duration;

use confab_protocol::media::MAX_DATAGRAM;

use super::path::FourTuple;

/// Bytes of a receive buffer: one more than a datagram may have, so that a longer datagram is recognised.
pub const PACKET_CAPACITY: usize = MAX_DATAGRAM + 1;

/// A frame that is older than this is dropped.
pub(super) const MAX_FRAME_AGE: Duration = Duration::from_millis(200);

/// The time at which the kernel received a datagram, by the wall clock: nanoseconds since 1970; 0 if unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KernelTime(pub u64);

impl KernelTime {
    /// Time from this one to `now`; `None` if one of them is unknown, or the clock was set back in between.
    pub fn until(self, now: Self) -> Option<Duration> {
        let is_known = self != Self::default();
        let time = now.0.checked_sub(self.0).filter(|_| is_known);
        time.map(Duration::from_nanos)
    }
}

/// What a transport knows of a datagram that it has received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// The datagram's length, cut to the buffer's.
    pub len: usize,
    /// The sender's address, and the relay's address that it was sent to.
    pub from: FourTuple,
    /// When the kernel received the datagram.
    pub at: KernelTime,
    /// Time that it waited in the socket's buffer.
    pub waited: Duration,
}

/// One received datagram in its buffer.
pub struct Packet {
    /// The buffer. A transport writes a datagram into it, and then calls [`filled`](Self::filled).
    pub data: [u8; PACKET_CAPACITY],
    /// The datagram's length.
    pub(super) len: usize,
    /// The sender's address, and the relay's address that it was sent to.
    pub(super) from: FourTuple,
    /// When the kernel received the datagram.
    pub(super) received: KernelTime,
    /// Time that it waited in the socket's buffer.
    pub(super) waited: Duration,
    /// The worker whose pool the buffer belongs to.
    pub(super) owner: u8,
}

impl Packet {
    /// Tells that a transport has received a datagram into the buffer.
    #[inline]
    pub fn filled(&mut self, received: Received) {
        self.len = received.len;
        self.from = received.from;
        self.received = received.at;
        self.waited = received.waited;
    }

    /// The datagram.
    pub fn bytes(&self) -> &[u8] {
        self.data.get(..self.len).unwrap_or(&self.data)
    }

    /// The sender's address, and the relay's address that the datagram was sent to.
    #[inline]
    pub fn from(&self) -> FourTuple {
        self.from
    }

    /// When the kernel received the datagram.
    #[inline]
    pub fn received(&self) -> KernelTime {
        self.received
    }
}

/// The free buffers of a worker.
///
/// A buffer is taken by the transport, goes through the core with its datagram and comes back when the last copy is sent. So
/// nothing is allocated after the first seconds.
pub struct PacketPool {
    owner: u8,
    // Boxed so that a datagram moves by its address, never by its bytes.
    free: Vec<Box<Packet>>,
    made: usize,
    limit: usize,
}

impl PacketPool {
    /// The pool of worker `owner`, of `limit` buffers at most, made when they are first needed.
    pub fn new(owner: u8, limit: usize) -> Self {
        Self {
            owner,
            free: Vec::with_capacity(limit),
            made: 0,
            limit,
        }
    }

    /// A free buffer; `None` if all are in use.
    pub fn take(&mut self) -> Option<Box<Packet>> {
        if let Some(packet) = self.free.pop() {
            return Some(packet);
        }
        if self.made >= self.limit {
            return None;
        }
        self.made += 1;
        Some(Box::new(Packet {
            data: [0; PACKET_CAPACITY],
            len: 0,
            from: FourTuple::UNKNOWN,
            received: KernelTime::default(),
            waited: Duration::ZERO,
            owner: self.owner,
        }))
    }

    /// Takes back a buffer of this pool.
    pub fn give(&mut self, packet: Box<Packet>) {
        debug_assert_eq!(packet.owner, self.owner, "a buffer of another worker's");
        if self.free.len() < self.limit {
            self.free.push(packet);
        }
    }

    /// Count of buffers that [`take`](Self::take) could give now.
    pub fn available(&self) -> usize {
        self.free.len() + self.limit.saturating_sub(self.made)
    }
}
