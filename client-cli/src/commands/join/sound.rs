//! Where one's voice comes from and where the others' goes, as the flags say.

use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;

use super::files;

#[cfg(feature = "device")]
use crate::audio::device;
use crate::audio::files::FileId;
use crate::audio::recorder::{OutFile, Recorder};
use crate::audio::source::{Opening, Source};
use crate::audio::{AudioError, Block};
use crate::failure::{Exit, Failure};
use crate::flags::Join;

/// Time limit for opening inputs and outputs before the call. What is not open by then may open during the call.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// One's own voice.
pub(super) enum Input {
    /// Nothing is said.
    None,
    /// At the pace of the clock.
    Paced(Source),
    /// At the pace of a device.
    #[cfg(feature = "device")]
    Microphone(device::Microphone),
}

/// What is heard. The recorder is beside it.
pub(super) enum Playout {
    /// At the pace of the clock: nobody hears it, but the jitter buffers run and the recorder records.
    Clock,
    /// At the pace of a device.
    #[cfg(feature = "device")]
    Speakers(device::Speakers),
}

/// All of the sound of a call.
pub(super) struct Sound {
    pub(super) input: Input,
    pub(super) playout: Playout,
    pub(super) recorder: Option<Recorder>,
    /// Names of inputs and outputs that are not open yet.
    pub(super) awaited: Vec<String>,
    /// A device that broke.
    pub(super) problems: mpsc::UnboundedReceiver<String>,
    #[cfg(feature = "device")]
    _problems_to: mpsc::UnboundedSender<String>,
}

impl Sound {
    /// Opens inputs and outputs before the room is entered.
    pub(super) async fn open(flags: &Join) -> Result<Self, Failure> {
        check(flags)?;
        let taken = files::look(flags).await?;
        let (problems_to, problems) = mpsc::unbounded_channel();
        let mut awaited = Vec::new();
        let (input, opening) = open_input(flags, &problems_to)?;
        if let Some(opening) = opening {
            awaited.extend(opening.wait(OPEN_TIMEOUT).await?);
        }
        let playout = match flags.output {
            None => default_playout(&problems_to)?,
            Some(_) => Playout::Clock,
        };
        let recorder = match (out_file(flags, taken), flags.record_dir.clone()) {
            (None, None) => None,
            (out, dir) => {
                let mut recorder = Recorder::start(out, dir)?;
                awaited.extend(recorder.opened(OPEN_TIMEOUT).await?);
                Some(recorder)
            }
        };
        Ok(Self {
            input,
            playout,
            recorder,
            awaited,
            problems,
            #[cfg(feature = "device")]
            _problems_to: problems_to,
        })
    }
}

impl Input {
    /// The next block of a device; waits for ever when there is none.
    pub(super) async fn device_block(&mut self) -> Option<Block> {
        match self {
            #[cfg(feature = "device")]
            Self::Microphone(microphone) => microphone.blocks.recv().await,
            Self::None | Self::Paced(_) => std::future::pending().await,
        }
    }
}

impl Playout {
    /// Waits until a device wants more; for ever when there is none.
    pub(super) async fn hungry(&self) {
        match self {
            #[cfg(feature = "device")]
            Self::Speakers(speakers) => speakers.hungry().await,
            Self::Clock => std::future::pending().await,
        }
    }

    /// True when the clock says when to play.
    pub(super) fn is_clock(&self) -> bool {
        matches!(self, Self::Clock)
    }

    /// Blocks that a device wants.
    pub(super) fn wanted(&self) -> usize {
        match self {
            #[cfg(feature = "device")]
            Self::Speakers(speakers) => speakers.wanted(),
            Self::Clock => 0,
        }
    }

    /// Gives a device its block.
    #[cfg_attr(
        not(feature = "device"),
        expect(unused_variables, reason = "there is no device to give it to")
    )]
    pub(super) fn push(&self, block: &Block) {
        match self {
            #[cfg(feature = "device")]
            Self::Speakers(speakers) => speakers.push(block),
            Self::Clock => {}
        }
    }
}

/// What makes no sense is said before anything is opened, let alone overwritten.
fn check(flags: &Join) -> Result<(), Failure> {
    let says_nothing = flags.tone.is_none() && flags.input.is_none();
    let hears_nothing = flags.output.is_none() && flags.record_dir.is_none();
    if cfg!(not(feature = "device")) && says_nothing && hears_nothing {
        return Err(Failure::new(
            Exit::Audio,
            "audio",
            "this build has no sound card: give --in and --out (each FILE.wav, - or none), or build with the feature `device`",
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

fn open_input(
    flags: &Join,
    problems: &mpsc::UnboundedSender<String>,
) -> Result<(Input, Option<Opening>), Failure> {
    if let Some(hertz) = flags.tone {
        return Ok((Input::Paced(Source::tone(hertz)), None));
    }
    let (source, opening) = match flags.input.as_deref() {
        Some("none") => return Ok((Input::None, None)),
        Some("-") if flags.repeat => {
            return Err(Failure::usage(
                "standard input cannot be played again: --loop needs a file",
            ));
        }
        Some("-") => Source::stdin()?,
        Some(path) => Source::file(Path::new(path), flags.repeat)?,
        None => return Ok((default_input(problems)?, None)),
    };
    Ok((Input::Paced(source), Some(opening)))
}

#[cfg(feature = "device")]
fn default_input(problems: &mpsc::UnboundedSender<String>) -> Result<Input, AudioError> {
    device::microphone(problems.clone()).map(Input::Microphone)
}

#[cfg(not(feature = "device"))]
fn default_input(_: &mpsc::UnboundedSender<String>) -> Result<Input, AudioError> {
    Ok(Input::None)
}

#[cfg(feature = "device")]
fn default_playout(problems: &mpsc::UnboundedSender<String>) -> Result<Playout, AudioError> {
    device::speakers(problems.clone()).map(Playout::Speakers)
}

#[cfg(not(feature = "device"))]
fn default_playout(_: &mpsc::UnboundedSender<String>) -> Result<Playout, AudioError> {
    Ok(Playout::Clock)
}
