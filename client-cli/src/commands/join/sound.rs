//! Where one's voice comes from and where the others' goes, as the flags say.

use std::path::Path;

use tokio::sync::mpsc;

#[cfg(feature = "device")]
use crate::audio::device;
use crate::audio::recorder::{OutFile, Recorder};
use crate::audio::source::Source;
use crate::audio::{AudioError, Block};
use crate::failure::{Exit, Failure};
use crate::flags::Join;

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
    /// A device that broke.
    pub(super) problems: mpsc::UnboundedReceiver<String>,
    #[cfg(feature = "device")]
    _problems_to: mpsc::UnboundedSender<String>,
}

impl Sound {
    /// Opens everything, before anybody is bothered.
    pub(super) fn open(flags: &Join) -> Result<Self, Failure> {
        check(flags)?;
        let (problems_to, problems) = mpsc::unbounded_channel();
        let input = open_input(flags, &problems_to)?;
        let out = match flags.output.as_deref() {
            None | Some("none") => None,
            Some("-") => Some(OutFile::Stdout),
            Some(path) => Some(OutFile::Path(path.into())),
        };
        let playout = match flags.output {
            None => default_playout(&problems_to)?,
            Some(_) => Playout::Clock,
        };
        let recorder = match (out, flags.record_dir.clone()) {
            (None, None) => None,
            (out, dir) => Some(Recorder::start(out, dir)?),
        };
        Ok(Self {
            input,
            playout,
            recorder,
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
    let same = |a: &str, b: &str| {
        let real = |path: &str| std::fs::canonicalize(path).ok();
        real(a).is_some_and(|path| Some(path) == real(b))
    };
    match (flags.input.as_deref(), flags.output.as_deref()) {
        (Some(input), Some(output)) if same(input, output) => Err(Failure::usage(format!(
            "--in and --out are the same file, {output}: it would be overwritten while it is played"
        ))),
        _ => Ok(()),
    }
}

fn open_input(flags: &Join, problems: &mpsc::UnboundedSender<String>) -> Result<Input, Failure> {
    if let Some(hertz) = flags.tone {
        return Ok(Input::Paced(Source::tone(hertz)));
    }
    let source = match flags.input.as_deref() {
        Some("none") => return Ok(Input::None),
        Some("-") if flags.repeat => {
            return Err(Failure::usage(
                "standard input cannot be played again: --loop needs a file",
            ));
        }
        Some("-") => Source::stdin()?,
        Some(path) => Source::file(Path::new(path), flags.repeat)?,
        None => return Ok(default_input(problems)?),
    };
    Ok(Input::Paced(source))
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
