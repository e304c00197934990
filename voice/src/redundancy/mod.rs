//! Redundancy: blocks beside a frame from which earlier frames are recovered that were lost (`docs/protocol.md`, Frames).
//!
//! - [`Profile`]: which blocks go beside which frames;
//! - [`Protection`]: the sender's side, blocks of the frames so far;
//! - [`Recovery`]: the receiver's, lost frames of blocks and frames.
//!
//! A frame is named by the timestamp of its first sample. What is combined is the frame's *source symbol*, the Opus packet with
//! its length before it and zeros behind it.

mod gf256;
mod profile;
mod protection;
mod recovery;
mod symbol;
mod tinymt;

pub use profile::Profile;
pub use protection::{Code, Protection};
pub use recovery::{Recovered, Recovery};

/// Redundancy beside a frame, for earlier ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Block<'a> {
    /// An earlier frame, once more.
    Copy {
        /// Its start, in samples before that of the frame that brings it.
        age: u32,
        /// Its packet.
        packet: &'a [u8],
    },
    /// The XOR of source symbols.
    Xor {
        /// Bit `i`: the frame that starts `i + 1` durations before the one that brings this.
        mask: u16,
        /// The symbol.
        symbol: &'a [u8],
    },
    /// A linear combination of source symbols, with coefficients by RFC 8681 of the timestamp of the frame that brings it.
    RandomLinear {
        /// As that of [`Xor`](Self::Xor).
        mask: u16,
        /// The symbol.
        symbol: &'a [u8],
    },
}

impl Block<'_> {
    /// How long before the frame that brings it the earliest frame begins that it restores, in samples; `duration` is that of the
    /// bringing frame.
    pub fn reach(&self, duration: u32) -> u32 {
        match self {
            Self::Copy { age, .. } => *age,
            Self::Xor { mask, .. } | Self::RandomLinear { mask, .. } => {
                (u16::BITS - mask.leading_zeros()) * duration
            }
        }
    }
}
