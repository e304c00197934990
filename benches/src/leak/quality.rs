//! The cost of a constant bit rate in quality at equal bits: PESQ of recordings that went through Opus either way.

use std::path::Path;

use confab_voice::{CodecError, Decoder, Encoder, EncoderConfig};

use crate::score::{self, ScoreError};
use crate::speech::{self, SpeechError};

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
    #[error(transparent)]
    Score(#[from] ScoreError),
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
        let original = score::write(scratch, &format!("{number}-original"), samples)?;
        let config = EncoderConfig::default();
        let (bytes, decoded) = through_opus(samples, config)?;
        constant.push(original.clone());
        constant.push(score::write(
            scratch,
            &format!("{number}-constant"),
            &decoded,
        )?);
        let decoded = of_so_many_bytes(samples, bytes)?;
        variable.push(original);
        variable.push(score::write(
            scratch,
            &format!("{number}-variable"),
            &decoded,
        )?);
    }
    Ok(Quality {
        constant: mean(&score::pesq(python, &constant)?),
        variable: mean(&score::pesq(python, &variable)?),
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

fn mean(scores: &[f64]) -> f64 {
    scores.iter().sum::<f64>() / scores.len() as f64
}
