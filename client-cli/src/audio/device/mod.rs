//! Microphone and speakers that may do as they like: stall, lie, vanish and come back.
//!
//! The decisions use neither devices nor threads nor a clock of their own:
//!
//! * [`fault`]: what goes wrong, by class;
//! * [`watch`]: whether an open stream moves;
//! * [`period`]: how much the program may be late;
//! * [`slot`], [`keeper`]: which device is open, which is used, when the next try is due;
//! * [`intake`]: what of the microphone's sound is spoken;
//! * [`feed`], `phase`: when the speakers' sound is played, and when it is mixed;
//! * [`drift`]: how the clocks differ; [`quiet`]: when a gap would not be heard;
//! * [`wanted`], [`order`]: which device is opened, and which other one; [`form`]: in which form.
//!
//! At the edge:
//!
//! * [`pipe`], [`wakeup`], `fader`: between the audio thread and the call, without a lock;
//! * [`line`](mod@line): does what the keeper decides;
//! * [`microphone`], [`speakers`]: one side of a call each; [`stats`]: what is counted of it;
//! * `card`: the sound system itself (feature `device`); [`listing`]: the devices that it has.

use std::time::{Duration, Instant};

#[cfg(feature = "device")]
pub mod card;
pub mod drift;
mod fader;
pub mod fault;
pub mod feed;
pub mod form;
pub mod intake;
pub mod keeper;
pub mod line;
pub mod listing;
pub mod microphone;
pub mod order;
pub mod period;
mod phase;
pub mod pipe;
pub mod quiet;
pub mod slot;
pub mod speakers;
pub mod stats;
pub mod wakeup;
pub mod wanted;
pub mod watch;

use serde::Serialize;

use keeper::OpenError;
use line::{Backend, Line};

/// Time between two looks while a device is opened or closed.
const LOOK: Duration = Duration::from_millis(2);

/// Streams that are not closed by then are left to the system.
const CLOSE_DEADLINE: Duration = Duration::from_millis(300);

/// The two sides of a call's sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The input device.
    Microphone,
    /// The output device.
    Speakers,
}

impl Side {
    /// Its name for a person.
    pub fn name(self) -> &'static str {
        match self {
            Self::Microphone => "microphone",
            Self::Speakers => "speakers",
        }
    }
}

/// Waits until a device of this side is open.
///
/// # Errors
///
/// Neither the wanted device nor another can be opened, or opening does not end within some seconds.
pub async fn opened<B: Backend>(line: &mut Line<B>) -> Result<(), OpenError> {
    loop {
        line.update(Instant::now(), false);
        if line.stream().is_some() {
            return Ok(());
        }
        if let Some(error) = line.failure() {
            return Err(error);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Closes all streams of this side; waits for it a little while.
pub async fn closed<B: Backend>(line: &mut Line<B>) {
    line.close();
    let deadline = Instant::now() + CLOSE_DEADLINE;
    while line.is_closing() && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
}
