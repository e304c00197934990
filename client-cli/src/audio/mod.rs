//! The edge towards sound: 48 kHz mono, captured in blocks of 10 ms and mixed 5 ms at a time, whatever the other side has.
//!
//! * [`wav`]: what stands in a WAV file;
//! * [`resample`]: any rate to 48 kHz and back; [`downmix`]: any number of channels to one;
//! * [`files`]: identity of files, and opening of outputs;
//! * [`source`]: a file, standard input or a tone, block by block;
//! * [`sink`]: WAV files that stay readable whatever happens;
//! * [`recorder`]: the mix and each speaker, written beside the call;
//! * [`device`]: microphone and speakers.

use std::path::PathBuf;
use std::time::Duration;

pub mod device;
pub mod downmix;
pub mod files;
pub mod recorder;
pub mod resample;
pub mod sink;
pub mod source;
pub mod wav;

/// Samples of a captured block.
pub const BLOCK: usize = 480;

/// Time that a block lasts.
pub const BLOCK_TIME: Duration = Duration::from_millis(10);

/// 10 ms of 48 kHz mono, within ±1.0.
pub type Block = [f32; BLOCK];

/// Samples that are mixed at once. A packet waits for the next mix, and the delay of a voice changes by up to one while clocks
/// drift apart: half of a block halves both.
pub const MIX: usize = 240;

/// Time that a mix lasts.
pub const MIX_TIME: Duration = Duration::from_millis(5);

/// 5 ms of 48 kHz mono, within ±1.0.
pub type Mix = [f32; MIX];

/// Why there is no sound.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    /// A file cannot be opened or created.
    #[error("cannot {doing} {file}: {reason}")]
    File {
        doing: &'static str,
        file: String,
        /// The system's error.
        reason: String,
    },
    /// The file is not a WAV file, or of an unsupported kind.
    #[error("{file} is not a WAV file that can be played: {reason}")]
    NotWav { file: String, reason: String },
    /// A recording broke off.
    #[error("recording to {} stopped: {reason}; the samples written so far are kept", file.display())]
    Recording {
        file: PathBuf,
        /// The system's error.
        reason: String,
    },
    /// The sound goes to standard output, which has no reader.
    #[error("standard output has no reader: redirect it to a file or to /dev/null")]
    NoReader,
    /// The file of a recording exists, or is in use.
    #[error("cannot record to {file}: {reason}; give another --out")]
    Taken {
        file: String,
        /// Why it is refused.
        reason: String,
    },
    /// A recording was not written completely before the deadline.
    #[error(
        "recording to {file}: its end, {seconds:.1} s of sound, was not written in time and is lost"
    )]
    Unwritten {
        /// The file or the folder.
        file: String,
        /// Missing sound, in seconds.
        seconds: f64,
    },
    /// The sound system does not say which devices there are.
    #[error("no devices can be listed: {0}")]
    NoList(String),
    /// This program was built without the feature `device`.
    #[error("this build has no sound card: build with the feature `device`")]
    NoSoundCard,
    #[error("no {what}: {reason}; give {flag} FILE.wav, or {flag} none")]
    Device {
        /// The microphone or the speakers.
        what: &'static str,
        /// The system's error.
        reason: String,
        /// The flag that does without.
        flag: &'static str,
    },
}
