//! The devices of this machine, as its sound system lists them.

use cpal::traits::{DeviceTrait as _, HostTrait as _};

use super::opening::{failed, id_of, name_of, silence_library};
use crate::audio::device::keeper::OpenError;
use crate::audio::device::wanted::Listed;

/// All devices of this machine. It may take a second: some have to be asked.
///
/// # Errors
///
/// The sound system does not answer.
pub fn listed() -> Result<Vec<Listed>, OpenError> {
    silence_library();
    let host = cpal::default_host();
    let devices = host.devices().map_err(|error| failed(&error))?;
    let listed = devices.map(|device| Listed {
        id: id_of(&device),
        name: name_of(&device),
        input: device.supports_input(),
        output: device.supports_output(),
    });
    Ok(listed.filter(|one| one.input || one.output).collect())
}
