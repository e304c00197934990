//! The cost of a constant bit rate in quality at equal bits: PESQ (ITU-T P.862.2, wideband) of recordings that went through Opus
//! either way, by the Python package `pesq`.

use std::path::{Path, PathBuf};
use std::process::Command;

use confab::audio::resample::Resampler;
use confab_voice::{CodecError, Decoder, Encoder, EncoderConfig};

use crate::RATE;
use crate::speech::{self, SpeechError};

/// PESQ's wideband rate, in samples a second.
const WIDEBAND: u32 = 16_000;

/// Prints the PESQ of each pair of files: the original and what became of it.
const SCRIPT: &str = r#"
import sys, wave
import numpy
from pesq import pesq

def read(name):
    with wave.open(name) as file:
        return numpy.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768.0

names = sys.argv[1:]
for original, degraded in zip(names[0::2], names[1::2]):
    print(pesq(16000, read(original), read(degraded), "wb"))
"#;

/// The variable rate's setting is searched in so many halvings, up to this many times the constant rate.
const HALVINGS: u32 = 12;
const MOST_TIMES: u32 = 2;

/// Why quality was not measured.
#[derive(Debug, thiserror::Error)]
pub enum QualityError {
    #[error(transparent)]
    Speech(#[from] SpeechError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("cannot start Python: {0}; `scripts/setup pesq` makes an interpreter with the package")]
    Python(#[from] std::io::Error),
    /// The package is missing or refuses a file.
    #[error("cannot measure PESQ: {0}; `scripts/setup pesq` installs it")]
    Pesq(String),
}

/// Mean PESQ-WB of recordings at a constant and at a variable bit rate of the same number of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Quality {
    pub constant: f64,
    pub variable: f64,
}

/// Measures at the client's default rate by the interpreter `python`, which has the package `pesq`. `scratch`: a folder.
pub fn measure(python: &Path, scratch: &Path) -> Result<Quality, QualityError> {
    let (mut constant, mut variable) = (Vec::new(), Vec::new());
    for (number, samples) in speech::wideband()?.iter().enumerate() {
        let original = write(scratch, &format!("{number}-original"), samples)?;
        let config = EncoderConfig::default();
        let (bytes, decoded) = through_opus(samples, config)?;
        constant.push(original.clone());
        constant.push(write(scratch, &format!("{number}-constant"), &decoded)?);
        let decoded = of_so_many_bytes(samples, bytes)?;
        variable.push(original);
        variable.push(write(scratch, &format!("{number}-variable"), &decoded)?);
    }
    Ok(Quality {
        constant: mean_pesq(python, &constant)?,
        variable: mean_pesq(python, &variable)?,
    })
}

/// Encodes at a variable rate that takes `bytes` in all, and decodes that.
fn of_so_many_bytes(samples: &[f32], bytes: usize) -> Result<Vec<f32>, CodecError> {
    let rate = EncoderConfig::default().bitrate;
    let config = |bitrate| EncoderConfig {
        bitrate,
        variable_rate: true,
        ..EncoderConfig::default()
    };
    let (mut low, mut high) = (rate / MOST_TIMES, rate * MOST_TIMES);
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2;
        match through_opus(samples, config(middle))?.0 > bytes {
            true => high = middle,
            false => low = middle,
        }
    }
    Ok(through_opus(samples, config(low))?.1)
}

/// The bytes that Opus took, and what is decoded of them, in time with what went in.
fn through_opus(samples: &[f32], config: EncoderConfig) -> Result<(usize, Vec<f32>), CodecError> {
    let mut encoder = Encoder::new(config)?;
    let mut decoder = Decoder::new()?;
    let frame = encoder.frame_samples();
    let mut padded = samples.to_vec();
    padded.resize(
        (samples.len() + encoder.lookahead()).next_multiple_of(frame),
        0.0,
    );
    let (mut bytes, mut decoded) = (0, Vec::new());
    let mut out = vec![0.0; frame];
    for pcm in padded.chunks_exact(frame) {
        let packet = encoder.encode(pcm)?;
        bytes += packet.len();
        decoder.decode(packet, &mut out)?;
        decoded.extend_from_slice(&out);
    }
    decoded.drain(..encoder.lookahead());
    decoded.truncate(samples.len());
    Ok((bytes, decoded))
}

fn write(scratch: &Path, name: &str, samples: &[f32]) -> Result<PathBuf, SpeechError> {
    let mut wideband = Vec::new();
    let mut resampler = Resampler::new(RATE, WIDEBAND);
    resampler.push(samples, &mut wideband);
    resampler.finish(&mut wideband);
    let file = scratch.join(format!("{name}.wav"));
    speech::write_wav_at(&file, WIDEBAND, &wideband)?;
    Ok(file)
}

fn mean_pesq(python: &Path, pairs: &[PathBuf]) -> Result<f64, QualityError> {
    let output = Command::new(python)
        .args(["-c", SCRIPT])
        .args(pairs)
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(QualityError::Pesq(said));
    }
    let printed = String::from_utf8_lossy(&output.stdout);
    let values: Vec<f64> = printed
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    if values.len() != pairs.len() / 2 {
        return Err(QualityError::Pesq(printed.into_owned()));
    }
    Ok(values.iter().sum::<f64>() / values.len() as f64)
}
