//! Connection ids: which session of which worker a datagram belongs to.

/// Names a media session at a relay: 8 bytes, `worker (1) · slot (3) · random check (4)`.
///
/// The relay chooses it. For everybody else it is opaque: the client copies it into every datagram.
/// A slot is not given to another session for [`SLOT_REUSE_SECONDS`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

/// Time for which a slot stays empty after its session, in seconds.
pub const SLOT_REUSE_SECONDS: u64 = 60;

/// Slots of one worker: as many as 3 bytes can name.
pub const MAX_SLOTS: u32 = 1 << 24;

impl ConnectionId {
    /// Bytes on the wire.
    pub const LEN: usize = 8;

    /// Puts an id together. `slot` has to be below [`MAX_SLOTS`]; higher bits are cut off.
    pub const fn new(worker: u8, slot: u32, check: u32) -> Self {
        let slot = slot & (MAX_SLOTS - 1);
        Self((worker as u64) << 56 | (slot as u64) << 32 | check as u64)
    }

    /// Reads an id from its bytes on the wire.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    /// The bytes on the wire.
    pub const fn to_bytes(self) -> [u8; Self::LEN] {
        self.0.to_be_bytes()
    }

    /// The worker that owns the session.
    pub const fn worker(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// The session's slot at its worker, below [`MAX_SLOTS`].
    pub const fn slot(self) -> u32 {
        (self.0 >> 32) as u32 & (MAX_SLOTS - 1)
    }

    /// Random bits that a session before in the same slot did not have.
    pub const fn check(self) -> u32 {
        self.0 as u32
    }
}

impl std::fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{:08x}", self.worker(), self.slot(), self.check())
    }
}
