//! Echo: others speak, the loudspeakers play it, and the microphone hears that.

use std::path::Path;

use confab_voice::{BLOCK, Processing, ProcessingConfig, level_dbov};

use super::judge::pesq;
use super::sounds;
use crate::RATE;
use crate::figures::{Figure, Goal};
use crate::score::ScoreError;

/// How much quieter the microphone hears the loudspeakers than they play, in dB.
const LOSS_DB: f32 = 10.0;
/// The canceller has learnt the room by then, in seconds.
const LEARNT: usize = 10;

const CANCELLING: ProcessingConfig = ProcessingConfig {
    high_pass: true,
    cancel_echo: true,
    suppress_noise: false,
    control_gain: false,
};

pub(super) fn figures(python: &Path, clips: &[Vec<f32>]) -> Result<Vec<Figure>, ScoreError> {
    let (far, near) = clips.split_at(clips.len() / 2);
    let (far, near) = (far.concat(), near.concat());
    let length = far.len().min(near.len());
    let (far, near) = (&far[..length], &near[..length]);
    let echo = sounds::in_a_room(far, LOSS_DB);
    let learnt = LEARNT * RATE as usize;

    let left = cancelled(far, &echo);
    let loss_db = f64::from(level_dbov(&left[learnt..]) - level_dbov(&echo[learnt..]));

    // Both speak at once, after the room is known from the first seconds.
    let silent = vec![0.0; length];
    let near_later = [&silent[..learnt], &near[learnt..]].concat();
    let both: Vec<f32> = echo.iter().zip(&near_later).map(|(a, b)| a + b).collect();
    let alone = pesq(python, &near_later, &cancelled(&silent, &near_later))?;
    let double = pesq(python, &near_later, &cancelled(far, &both))?;
    let untouched = pesq(python, &near_later, &both)?;
    Ok(vec![
        Figure::new(
            "voice.echo_return_loss_db",
            loss_db,
            "dB",
            Goal::AtLeast(35.0),
        ),
        Figure::new(
            "voice.double_talk_pesq_loss",
            alone - double,
            "PESQ-WB",
            Goal::AtMost(0.3),
        ),
        Figure::new("voice.double_talk_pesq", double, "PESQ-WB", Goal::None),
        Figure::new(
            "voice.double_talk_pesq.off",
            untouched,
            "PESQ-WB",
            Goal::None,
        ),
    ])
}

/// The sound that is sent while the speakers play `far` and the microphone hears `heard`.
fn cancelled(far: &[f32], heard: &[f32]) -> Vec<f32> {
    let mut processing = Processing::new(CANCELLING);
    let mut out = heard.to_vec();
    for (far, block) in far.chunks_exact(BLOCK).zip(out.chunks_exact_mut(BLOCK)) {
        processing.played(far);
        processing.process(block);
    }
    out
}
