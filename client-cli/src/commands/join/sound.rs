//! The audio inputs and outputs of a call, as the flags name them.

use std::path::Path;
use std::time::Duration;

use super::files;

#[cfg(feature = "device")]
use super::devices::Devices;
#[cfg(not(feature = "device"))]
use super::no_devices::Devices;
use crate::audio::device::wanted::Wanted;
use crate::audio::files::FileId;
use crate::audio::recorder::{OutFile, Recorder};
use crate::audio::source::{Opening, Source};
use crate::failure::{Exit, Failure};
use crate::flags::Join;
use crate::store::settings::Settings;

/// Time limit for opening inputs and outputs before the call. What is not open by then may open during the call.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) enum Input {
    /// No source: silence, or the devices have a microphone.
    None,
    /// At the pace of the clock.
    Paced(Source),
}

/// The sound of a call, without its recordings. What is heard is played at the pace of the clock, whatever the speakers do.
pub(super) struct Sound {
    pub(super) input: Input,
    pub(super) devices: Devices,
    /// Names of inputs and outputs that are not open yet.
    pub(super) awaited: Vec<String>,
    /// Where an input has nothing to say, silence is sent.
    pub(super) hide_pauses: bool,
}

impl Sound {
    /// Opens inputs, outputs and devices before the room is entered. Starts the recorder that the options ask for, and leaves
    /// it in `recorder` whatever comes of the rest.
    pub(super) async fn open(
        flags: &Join,
        chosen: &Settings,
        recorder: &mut Option<Recorder>,
    ) -> Result<Self, Failure> {
        check(flags)?;
        let taken = files::compare(flags).await?;
        let mut awaited = Vec::new();
        let (input, opening) = open_input(flags)?;
        if let Some(opening) = opening {
            awaited.extend(opening.wait(OPEN_TIMEOUT).await?);
        }
        let microphone = flags.has_microphone();
        let wanted = |id: &Option<String>| Wanted::from_kept(id.clone());
        let microphone = microphone.then(|| wanted(&chosen.input_device));
        let speakers = flags
            .output
            .is_none()
            .then(|| wanted(&chosen.output_device));
        let devices = Devices::open(microphone, speakers).await?;
        let (out, dir) = (out_file(flags, taken), flags.record_dir.clone());
        if out.is_some() || dir.is_some() {
            let recorder = recorder.insert(Recorder::start(out, dir)?);
            awaited.extend(recorder.opened(OPEN_TIMEOUT).await?);
        }
        Ok(Self {
            input,
            devices,
            awaited,
            hide_pauses: flags.voice.hide_pauses,
        })
    }
}

/// Refuses contradictory options before any file is opened or overwritten.
pub(super) fn check(flags: &Join) -> Result<(), Failure> {
    let says_nothing = flags.tone.is_none() && flags.input.is_none();
    let hears_nothing = flags.output.is_none() && flags.record_dir.is_none();
    if cfg!(not(feature = "device")) && says_nothing && hears_nothing {
        return Err(Failure::new(
            Exit::Audio,
            "audio",
            "this build has no sound card: give --in and --out (each FILE.wav, - or none), or build with the feature `device`",
        ));
    }
    if flags.commands && flags.input.as_deref() == Some("-") {
        return Err(Failure::usage(
            "--commands reads standard input, and so does --in -: give one of them",
        ));
    }
    if flags.until_end && flags.tone.is_none() && flags.input.as_deref() == Some("none") {
        return Err(Failure::usage(
            "--until-end wants an input that ends: give --in FILE.wav",
        ));
    }
    Ok(())
}

fn out_file(flags: &Join, taken: Vec<FileId>) -> Option<OutFile> {
    match flags.output.as_deref()? {
        "none" => None,
        "-" => Some(OutFile::Stdout),
        path => Some(OutFile::Path {
            path: path.into(),
            overwrite: flags.overwrite,
            taken,
        }),
    }
}

fn open_input(flags: &Join) -> Result<(Input, Option<Opening>), Failure> {
    if let Some(hertz) = flags.tone {
        return Ok((Input::Paced(Source::tone(hertz)), None));
    }
    let (source, opening) = match flags.input.as_deref() {
        Some("none") if flags.voice.hide_pauses => {
            return Ok((Input::Paced(Source::Silence), None));
        }
        None | Some("none") => return Ok((Input::None, None)),
        Some("-") if flags.repeat => {
            return Err(Failure::usage(
                "standard input cannot be played again: --loop needs a file",
            ));
        }
        Some("-") => Source::stdin()?,
        Some(path) => Source::file(Path::new(path), flags.repeat)?,
    };
    Ok((Input::Paced(source), Some(opening)))
}
