//! The processing of a client with a microphone, and how what comes out of it is judged.

use std::path::Path;

use confab_voice::{BLOCK, Processing, ProcessingConfig};

use crate::RATE;
use crate::score::{self, ScoreError};

/// Judged by PESQ after this: it learns what is noise.
const LEARNT_SECONDS: usize = 5;

/// The default of a client with a microphone.
pub(super) const MICROPHONE: ProcessingConfig = ProcessingConfig {
    high_pass: true,
    cancel_echo: false,
    suppress_noise: true,
    control_gain: false,
};

/// Samples as they come out of the processing.
pub(super) fn processed(config: ProcessingConfig, samples: &[f32]) -> Vec<f32> {
    let mut processing = Processing::new(config);
    let mut out = samples.to_vec();
    for block in out.chunks_exact_mut(BLOCK) {
        processing.process(block);
    }
    out
}

/// PESQ of `heard`, which may be some milliseconds late, against `said`.
pub(super) fn pesq(python: &Path, said: &[f32], heard: &[f32]) -> Result<f64, ScoreError> {
    let scratch = tempfile::tempdir().map_err(ScoreError::Python)?;
    let from = LEARNT_SECONDS * RATE as usize;
    let pair = score::write_pair(scratch.path(), "processed", &said[from..], &heard[from..])?;
    let scores = score::pesq(python, &pair)?;
    Ok(scores.first().copied().unwrap_or(f64::NAN))
}
