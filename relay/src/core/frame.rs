//! A frame that a worker forwards.

use confab_protocol::media::AudioLevel;

use super::loudest::Speaker;

/// A frame that passed its session's checks, beside the packet that it is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckedFrame {
    /// The speaker, and its claim to be forwarded.
    pub(super) speaker: Speaker,
    /// The level that the speaker declares.
    pub(super) level: AudioLevel,
}
