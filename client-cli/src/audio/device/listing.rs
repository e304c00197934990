//! The devices of this machine.

#[cfg(feature = "device")]
use super::card;
use super::wanted::Listed;
use crate::audio::AudioError;

/// All of them. It may take a second.
///
/// # Errors
///
/// There is no sound system, or it does not answer.
pub fn listed() -> Result<Vec<Listed>, AudioError> {
    #[cfg(feature = "device")]
    return card::listed().map_err(|error| AudioError::NoList(error.reason));
    #[cfg(not(feature = "device"))]
    Err(AudioError::NoSoundCard)
}
