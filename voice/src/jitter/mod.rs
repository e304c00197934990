//! The jitter buffer of one speaker: packets in as they come, decisions out as the output asks.
//!
//! Positions are in samples at 48 kHz. A packet's *transit* is its arrival less its timestamp; samples are played
//! at a transit too, the time of playing less their timestamp. The buffer works when the second is just above the
//! first for all packets but the very slow ones: `delay` says what that takes, `playout` what is, `store` holds
//! what waits. Latency that is too long always drains: a little by time stretching, a lot by skipping.

mod buffer;
mod delay;
mod playout;
mod store;
mod timeline;

use std::time::Duration;

pub use buffer::JitterBuffer;
pub use playout::Correction;

/// The next item of playout.
#[derive(Debug)]
pub enum Next<'a> {
    /// Decode this packet.
    Frame(Frame<'a>),
    /// Conceal this many samples.
    Conceal(usize),
    /// Conceal this many samples, fading to silence: no more will come.
    FadeOut(usize),
    /// There is nothing to play: a pause, or nothing came for long.
    Silence,
}

/// A packet to decode.
#[derive(Debug)]
pub struct Frame<'a> {
    /// The Opus packet; its framing is valid.
    pub packet: &'a [u8],
    /// Its duration in samples.
    pub samples: usize,
    /// How its length should change.
    pub correction: Correction,
    /// True when what was played before is not what came before it: time was skipped.
    pub skipped: bool,
    /// True when the sender started anew: a decoder should forget.
    pub restarted: bool,
}

/// Counts of a speaker's packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct JitterStats {
    /// Primary packets given to the buffer, whatever became of them.
    pub received: u64,
    /// Redundant copies given to the buffer.
    pub redundant_received: u64,
    /// Primary packets that had come before.
    pub duplicate: u64,
    /// Primary packets that came after their time.
    pub late: u64,
    /// Packets, primary or redundant, whose framing is not Opus.
    pub malformed: u64,
    /// Frames that were not there when they were to be played, late ones included; pauses are not.
    pub lost: u64,
    /// Frames that a redundant copy stood in for.
    pub recovered: u64,
    /// Frames thrown away because too many waited.
    pub skipped: u64,
    /// Times that the speaker's timestamps started anew.
    pub restarts: u64,
    /// Samples concealed in frames' stead, pauses not counted. A gap counts once it is known to be none.
    pub concealed_samples: u64,
    /// The same in frames, partly concealed ones added up.
    pub concealed_frames: u64,
    /// Delay to hold over the fastest packet's.
    pub target_delay: Duration,
    /// Delay held over the fastest packet's.
    pub current_delay: Duration,
}

/// Milliseconds in samples.
const fn ms(ms: i64) -> i64 {
    ms * 48
}
