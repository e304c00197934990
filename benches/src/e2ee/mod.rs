//! The costs of end-to-end encryption: frames, commits, joins, and gaps of voice while the group changes.
//!
//! * [`frames`]: sealing and opening;
//! * [`changes`]: one member more, one less, in groups of three sizes;
//! * [`voice`]: gaps, bursts and dead committers, on virtual time;
//! * [`joins`]: joins at real programs.

pub mod changes;
pub mod frames;
pub mod joins;
pub mod voice;

use std::path::Path;

use crate::control::ControlError;
use crate::control::first_audio::join_to_first_audio;
use crate::figures::{Figure, Goal};

/// All figures. `programs` has the programs of Confab.
pub async fn figures(programs: &Path) -> Result<Vec<Figure>, ControlError> {
    let mut figures = frames::figures();
    figures.extend(changes::figures());
    figures.extend(voice::figures());
    figures.extend(joins::figures(programs).await?);
    figures.push(Figure::new(
        "e2ee.join_to_first_audio_ms.p50",
        join_to_first_audio(programs).await?,
        "ms",
        Goal::AtMost(80.0),
    ));
    Ok(figures)
}
