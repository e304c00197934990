//! Datagrams between a client and a relay, in the order in which a voice frame meets them.
//!
//! A frame starts as [`payload`] (what only members read), is sealed behind an [`sframe_header`], travels to the relay
//! as [`uplink`], is tagged by [`hop_tag`], checked against a [`replay`] window and leaves in a [`downlink`] bundle.
//!
//! All integers are big-endian.

pub mod connection_id;
pub mod downlink;
pub mod hop_tag;
pub mod level;
pub mod loss;
pub mod payload;
pub mod replay;
pub mod sframe_header;
pub mod uplink;

pub use connection_id::ConnectionId;
pub use downlink::Downlink;
pub use hop_tag::{HopKey, RecordDigest};
pub use level::AudioLevel;
pub use loss::{Loss, LossReport, ReceptionCounts};
pub use payload::FramePayload;
pub use replay::{ReplayError, ReplayWindow};
pub use sframe_header::{KeyId, SframeHeader};
pub use uplink::Uplink;

/// Largest UDP payload of any datagram, in bytes (RFC 9000 §14: every path carries it).
pub const MAX_DATAGRAM: usize = 1200;

/// Bytes of a hop tag.
pub const TAG_LEN: usize = 8;

/// Bytes of an SFrame's AEAD tag (RFC 9605 §4.5, suite 0x0004).
pub const SFRAME_TAG_LEN: usize = 16;

/// A session's packet numbers end here; a new media session has to begin before.
pub const PACKET_NUMBER_LIMIT: u32 = 1 << 31;

/// Longest time between two keep-alives of a client, in seconds.
pub const KEEP_ALIVE_MAX_SECONDS: u64 = 15;

/// A session whose client has answered no path challenge for so many seconds is over, unless its relay's operator says
/// otherwise.
pub const IDLE_TIMEOUT_SECONDS: u64 = 30;

/// Clock rate of the timestamps in [`payload`], in hertz.
pub const TIMESTAMP_RATE: u32 = 48_000;

/// Why bytes are not a datagram (or a part of one) of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// Fewer bytes than the fields need.
    #[error("truncated: {got} bytes where {needed} are needed")]
    Truncated {
        /// Bytes there are.
        got: usize,
        /// Bytes there should be, at least.
        needed: usize,
    },
    /// More bytes than [`MAX_DATAGRAM`], or than the field may have.
    #[error("too long: {got} bytes where {limit} are allowed")]
    TooLong {
        /// Bytes there are.
        got: usize,
        /// Bytes there may be, at most.
        limit: usize,
    },
    /// The first byte is no type of this direction.
    #[error("unknown datagram type {0:#04x}")]
    UnknownType(u8),
    /// Bytes are left over, or the count of records does not match them.
    #[error("the lengths inside do not add up to the datagram")]
    BadLength,
    /// A value has a longer encoding than it needs.
    #[error("a value is not encoded in its shortest form")]
    NotMinimal,
    /// A value is out of the field's range.
    #[error("a value is out of the field's range")]
    OutOfRange,
    /// The payload does not have layout 2, or has a critical flag of a later version.
    #[error("the frame's payload has a layout that this version does not know")]
    UnknownLayout,
}

/// Takes the first `N` bytes of `bytes`, or says how many are missing.
pub(crate) fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), MediaError> {
    match bytes.split_first_chunk::<N>() {
        Some((head, rest)) => Ok((*head, rest)),
        None => Err(MediaError::Truncated {
            got: bytes.len(),
            needed: N,
        }),
    }
}
