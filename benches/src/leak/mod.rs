//! Mutual information between a datagram as the path sees it (length, level byte, time since the one before) and the class
//! of the phone in it, which is encrypted.
//!
//! Ten minutes of recorded speech go through a client's sending side at its defaults. What chance alone would show is taken
//! off: the mean over 100 shuffles of the classes. Beside it stands a sender with Opus' variable bit rate and the level of
//! each frame, which shows that the measurement finds what there is.
//!
//! * [`phones`]: the class of each frame, by the signal;
//! * [`path`]: what the path sees;
//! * [`information`]: how much the one tells of the other;
//! * [`quality`]: what a constant bit rate costs.

pub mod information;
pub mod path;
pub mod phones;
pub mod quality;

use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::RATE;
use crate::figures::{Figure, Goal};
use crate::speech::{self, SpeechError};
use path::{PathError, Seen, Sender};
use phones::{FRAME, Phone};
use quality::QualityError;

/// Length of the speech, in seconds.
const SECONDS: usize = 600;

/// Shortest and longest pause between two recordings, in frames.
const PAUSE: (usize, usize) = (15, 75);

/// RMS of what is loud enough to be speech in each recording: all are spoken at one loudness, or the level would tell recordings
/// apart instead of phones. −24 dB of full scale.
const LOUDNESS: f32 = 0.063;
/// Frames below this part of the loudest frame are no speech: −35 dB.
const QUIET: f32 = 0.018;

/// Goal: at most this mutual information, in bits a frame.
const GOAL_BITS: f64 = 0.05;

/// Goal: a constant bit rate costs at most this at equal bits, in PESQ-WB.
const GOAL_PESQ: f64 = 0.1;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum LeakError {
    #[error(transparent)]
    Speech(#[from] SpeechError),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Quality(#[from] QualityError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Speech in frames of [`FRAME`] samples, and the class of each.
pub struct Talk {
    pub samples: Vec<f32>,
    pub phones: Vec<Phone>,
}

/// Measures. `python`: an interpreter with the package `pesq`; without one PESQ is left out. `progress` is told what goes on.
pub fn figures(python: Option<&Path>, progress: impl Fn(&str)) -> Result<Vec<Figure>, LeakError> {
    progress("classifying ten minutes of speech");
    let scratch = tempfile::tempdir()?;
    let talk = talk(SECONDS, scratch.path())?;
    let mut figures = Vec::new();
    for phone in Phone::ALL {
        let share = talk.phones.iter().filter(|one| **one == phone).count();
        let name = format!("leak.share.{}", phone.name());
        let share = share as f64 / talk.phones.len() as f64;
        figures.push(Figure::new(&name, share, "of the frames", Goal::None));
    }
    for (name, sender, goal) in [
        ("leak", Sender::Default, Goal::AtMost(GOAL_BITS)),
        ("leak.hidden_pauses", Sender::HiddenPauses, Goal::None),
        ("leak.variable", Sender::Variable, Goal::None),
    ] {
        progress(&format!("sending it: {name}"));
        let seen = path::seen(&talk.samples, sender)?;
        let bits = |of: path::Part| {
            let pairs: Vec<(u64, Phone)> = seen
                .iter()
                .map(|seen| (of(seen), talk.phones[seen.frame]))
                .collect();
            information::beyond_chance(&pairs)
        };
        let unit = "bits a frame";
        figures.push(Figure::new(
            &format!("{name}.bits"),
            bits(Seen::all),
            unit,
            goal,
        ));
        for (part, of) in Seen::PARTS {
            let name = format!("{name}.bits.{part}");
            figures.push(Figure::new(&name, bits(of), unit, Goal::None));
        }
        let sent = seen.len() as f64 / talk.phones.len() as f64;
        let name = format!("{name}.sent");
        figures.push(Figure::new(&name, sent, "of the frames", Goal::None));
    }
    if let Some(python) = python {
        progress("comparing constant and variable bit rate by PESQ");
        let quality = quality::measure(python, scratch.path())?;
        let cost = quality.variable - quality.constant;
        for (name, value, goal) in [
            ("leak.pesq_constant", quality.constant, Goal::None),
            ("leak.pesq_variable", quality.variable, Goal::None),
            ("leak.pesq_cost", cost, Goal::AtMost(GOAL_PESQ)),
        ] {
            figures.push(Figure::new(name, value, "PESQ-WB", goal));
        }
    }
    Ok(figures)
}

/// Speech of many people for `seconds`: their recordings in turn, again and again, each time with another pause behind it and
/// another place in its frames. `scratch` is a folder for synthesised speech.
pub fn talk(seconds: usize, scratch: &Path) -> Result<Talk, SpeechError> {
    let recordings = speech::recordings(scratch)?;
    let mut random = StdRng::seed_from_u64(1);
    let mut talk = Talk {
        samples: Vec::new(),
        phones: Vec::new(),
    };
    let frames = seconds * RATE as usize / FRAME;
    for recording in recordings.iter().cycle() {
        if talk.phones.len() >= frames {
            break;
        }
        let gain = LOUDNESS / loudness(recording);
        let pause = FRAME * random.random_range(PAUSE.0..PAUSE.1);
        let mut piece = vec![0.0; random.random_range(0..FRAME)];
        piece.extend(recording.iter().map(|sample| sample * gain));
        piece.resize(piece.len().next_multiple_of(FRAME) + pause, 0.0);
        talk.phones.extend(phones::classify(&piece));
        talk.samples.extend_from_slice(&piece);
    }
    talk.phones.truncate(frames);
    talk.samples.truncate(frames * FRAME);
    Ok(talk)
}

/// The RMS of the frames that are not quiet.
fn loudness(samples: &[f32]) -> f32 {
    let power = |frame: &[f32]| frame.iter().map(|x| x * x).sum::<f32>() / frame.len() as f32;
    let powers: Vec<f32> = samples.chunks_exact(FRAME).map(power).collect();
    let loudest = powers.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let heard = powers
        .iter()
        .filter(|power| **power >= loudest * QUIET * QUIET);
    let (sum, count) = heard.fold((0.0, 0), |(sum, count), power| (sum + power, count + 1));
    (sum / count.max(1) as f32).sqrt().max(f32::MIN_POSITIVE)
}
