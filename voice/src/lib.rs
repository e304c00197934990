//! The voice of Confab: from a microphone's samples to Opus packets, and from packets of many speakers to one mix.
//!
//! No I/O, no device and no clock: bytes, samples and `std::time::Instant`s go in, bytes and samples come out. All
//! audio is mono `f32` at 48 kHz, nominally within ±1.0.
//!
//! In the order in which sound flows:
//!
//! - [`processing`]: the microphone without rumble, noise and echo, and as loud as it should be.
//! - [`level`]: how loud a frame is, and whether it holds a voice; [`speech`]: the same by a model.
//! - [`gate`]: which frames may be sent; [`spurt`]: which are, and what the path is told of them.
//! - [`codec`]: Opus, and what can be told of a packet without decoding it.
//! - [`redundancy`]: blocks beside a frame that bring back lost ones.
//! - [`adaptation`]: how much of that the network needs, and how many bits it bears.
//! - [`jitter`]: the jitter buffer of one speaker: reorders, measures delay, decides what is played next.
//! - [`stream`]: one speaker, playable: jitter buffer, decoder, concealment, time stretching.
//! - [`mixer`]: many speakers into one output that never clips.
//! - [`listener`]: all of the receiving side for a client: frames of any leaf in, a mix out.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod adaptation;
pub mod codec;
pub mod gate;
pub mod jitter;
pub mod level;
pub mod listener;
pub mod mixer;
pub mod processing;
pub mod redundancy;
pub mod speech;
pub mod spurt;
pub mod stream;

pub use adaptation::{Adaptation, AdaptationConfig, PathLoss, Plan};
pub use codec::{
    Bandwidth, CodecError, Decoder, Encoder, EncoderConfig, FrameDuration, packet_duration,
};
pub use gate::{Gate, TalkMode};
pub use jitter::{JitterBuffer, JitterStats};
pub use level::{Activity, VoiceActivity, level_dbov};
pub use listener::{Listener, ReceivedFrame};
pub use mixer::{Gain, Mixer};
pub use processing::{Processing, ProcessingConfig};
pub use redundancy::{Block, Code, Profile, Protection, Recovered, Recovery};
pub use spurt::{Fate, Spurts, Told};
pub use stream::{Pulled, SpeakerStream, StreamStats};

/// Samples in a second; also the unit of media timestamps.
pub const SAMPLE_RATE: u32 = 48_000;

/// Samples in a millisecond.
pub const SAMPLES_PER_MS: usize = 48;

/// Samples of a block in which a microphone's sound is processed (10 ms).
pub const BLOCK: usize = 10 * SAMPLES_PER_MS;

/// A number of samples as a time.
pub(crate) fn samples_to_duration(samples: i64) -> std::time::Duration {
    let samples = samples.clamp(0, i64::from(u32::MAX)) as u64;
    std::time::Duration::from_micros(samples * 125 / 6)
}
