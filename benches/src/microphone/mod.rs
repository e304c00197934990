//! The processing of a microphone's sound, judged by recordings of speech: noise, echo, and which frames are sent.
//!
//! * `sounds`: noises and a room, seeded;
//! * `gate`: what is sent of speech, and of noise;
//! * `echo`: what others hear of themselves;
//! * `judge`: the processing, and how it is judged.

mod echo;
mod gate;
mod judge;
mod sounds;

use std::path::Path;

use confab_voice::ProcessingConfig;

use crate::figures::{Figure, Goal};
use crate::score::ScoreError;
use crate::speech;
use judge::{MICROPHONE, pesq, processed};
use sounds::Noise;

/// Each noise with the loudness of speech over it, in dB.
const NOISES: [(&str, Noise, f32); 4] = [
    ("fan20", Noise::Fan, 20.0),
    ("fan10", Noise::Fan, 10.0),
    ("hiss15", Noise::Hiss, 15.0),
    ("keys10", Noise::Keys, 10.0),
];

/// Measures by the interpreter `python`, which has the package `pesq`. `progress` is told what goes on.
pub fn figures(python: &Path, progress: impl Fn(&str)) -> Result<Vec<Figure>, ScoreError> {
    let clips = speech::wideband()?;
    let clean: Vec<f32> = clips.concat();
    let mut figures = Vec::new();
    for (name, noise, over_db) in NOISES {
        progress(&format!("noise: {name}"));
        let noisy = sounds::with_noise(&clean, noise, over_db);
        let ways = [("", MICROPHONE), (".off", ProcessingConfig::default())];
        for (suffix, config) in ways {
            let pesq = pesq(python, &clean, &processed(config, &noisy))?;
            let name = format!("voice.pesq.noise_{name}{suffix}");
            figures.push(Figure::new(&name, pesq, "PESQ-WB", Goal::None));
        }
    }
    let quiet = pesq(python, &clean, &processed(MICROPHONE, &clean))?;
    figures.push(Figure::new(
        "voice.pesq.noise_none",
        quiet,
        "PESQ-WB",
        Goal::None,
    ));
    progress("which frames are sent");
    figures.extend(gate::figures(&clips));
    progress("echo");
    figures.extend(echo::figures(python, &clips)?);
    Ok(figures)
}
