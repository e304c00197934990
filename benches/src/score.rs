//! Quality of speech as people would judge it, by models: PESQ (ITU-T P.862.2, wideband) by the Python package `pesq`, PLCMOS
//! (Microsoft's, made for what is heard after packet loss) by `speechmos`, and ViSQOL for audio (Google's, which hears up to 20 kHz)
//! by `visqol-python`.

use std::path::{Path, PathBuf};
use std::process::Command;

use confab::audio::resample::Resampler;

use crate::RATE;
use crate::speech::{self, SpeechError};

/// The rate that the models of speech take, in samples a second.
const WIDEBAND: u32 = 16_000;

/// Reads a file for the models.
const READ: &str = r#"
import sys, wave
import numpy

def read(name):
    with wave.open(name) as file:
        return numpy.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768.0

names = sys.argv[1:]
"#;

/// Prints the PESQ of each pair of files: the original and what became of it.
const PESQ: &str = r#"
from pesq import pesq
for original, degraded in zip(names[0::2], names[1::2]):
    print(pesq(16000, read(original), read(degraded), "wb"))
"#;

/// Prints the PLCMOS of each file: the mean over pieces of 10 s, for which the model is made, half of each in the next.
const PLCMOS: &str = r#"
from speechmos import plcmos
PIECE = 160000
for name in names:
    heard = read(name).astype(numpy.float32)
    begins = range(0, max(len(heard) - PIECE, 0) + 1, PIECE // 2)
    pieces = [heard[begin:begin + PIECE] for begin in begins]
    print(numpy.mean([plcmos.run(piece, sr=16000)["plcmos"] for piece in pieces]))
"#;

/// Prints the ViSQOL of each pair of files, in audio mode: the original and what became of it.
const VISQOL: &str = r#"
from visqol import VisqolApi
api = VisqolApi()
api.create(mode="audio")
for original, degraded in zip(names[0::2], names[1::2]):
    print(api.measure(original, degraded).moslqo)
"#;

/// Why quality was not measured.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    #[error(transparent)]
    Speech(#[from] SpeechError),
    #[error(
        "cannot start Python: {0}; `scripts/setup pesq` makes an interpreter with the packages"
    )]
    Python(#[from] std::io::Error),
    /// A package is missing or refuses a file.
    #[error("cannot measure quality: {0}; `scripts/setup pesq` installs what it takes")]
    Model(String),
}

/// Writes samples at [`RATE`] for the models of speech.
pub fn write(folder: &Path, name: &str, samples: &[f32]) -> Result<PathBuf, SpeechError> {
    let mut wideband = Vec::new();
    let mut resampler = Resampler::new(RATE, WIDEBAND);
    resampler.push(samples, &mut wideband);
    resampler.finish(&mut wideband);
    let file = folder.join(format!("{name}.wav"));
    speech::write_wav_at(&file, WIDEBAND, &wideband)?;
    Ok(file)
}

/// Writes what was said and what was heard of it, both at [`RATE`], for the models of speech.
pub fn write_pair(
    folder: &Path,
    name: &str,
    said: &[f32],
    heard: &[f32],
) -> Result<[PathBuf; 2], SpeechError> {
    Ok([
        write(folder, &format!("said-{name}"), said)?,
        write(folder, &format!("heard-{name}"), heard)?,
    ])
}

/// The PESQ of each pair of files: an original, and what became of it. `python`: an interpreter with the package.
pub fn pesq(python: &Path, pairs: &[PathBuf]) -> Result<Vec<f64>, ScoreError> {
    run(python, PESQ, pairs, pairs.len() / 2)
}

/// The PLCMOS of each file. `python`: an interpreter with the package.
pub fn plcmos(python: &Path, files: &[PathBuf]) -> Result<Vec<f64>, ScoreError> {
    run(python, PLCMOS, files, files.len())
}

/// The ViSQOL of each pair of files at [`RATE`]: an original, and what became of it. `python`: an interpreter with the package.
pub fn visqol(python: &Path, pairs: &[PathBuf]) -> Result<Vec<f64>, ScoreError> {
    run(python, VISQOL, pairs, pairs.len() / 2)
}

fn run(
    python: &Path,
    script: &str,
    files: &[PathBuf],
    count: usize,
) -> Result<Vec<f64>, ScoreError> {
    let output = Command::new(python)
        .args(["-c", &format!("{READ}{script}")])
        .args(files)
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(ScoreError::Model(said));
    }
    let printed = String::from_utf8_lossy(&output.stdout);
    let lines = printed.lines().filter_map(|line| line.parse().ok());
    let values: Vec<f64> = lines.collect();
    if values.len() != count {
        return Err(ScoreError::Model(printed.into_owned()));
    }
    Ok(values)
}
