//! Counts of the devices, as they are printed.

use std::time::Instant;

use serde::Serialize;

use super::fault::Fault;
use super::keeper::Health;
use super::line::{Backend, Line};

/// How the device of one side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceState {
    Moving,
    /// The device is open, and its callbacks have not begun or have stopped.
    Still,
    None,
}

/// Counts that both sides have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceStats {
    /// The device in use, if there is one.
    pub device: Option<String>,
    /// True while it stands in for the wanted one.
    pub stands_in: bool,
    pub state: DeviceState,
    /// Its frames a second.
    pub rate: Option<u32>,
    pub channels: Option<u16>,
    /// Form of its samples.
    pub format: Option<String>,
    /// Time that each callback moves, in milliseconds.
    pub period_ms: Option<f32>,
    /// How much too fast its clock is, in parts of a million; `None` before that can be told.
    pub drift_ppm: Option<f32>,
    /// Times that the program was too late for it, or it stood still.
    pub xruns: u64,
    /// Other errors that it reported.
    pub errors: u64,
    /// Times that the device in use was lost.
    pub lost: u64,
}

/// Counts of the microphone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MicrophoneStats {
    /// The counts that both sides have.
    #[serde(flatten)]
    pub device: DeviceStats,
    /// Sound that was dropped because it was too old, in milliseconds.
    pub dropped_ms: u64,
}

/// Counts of the speakers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpeakersStats {
    /// The counts that both sides have.
    #[serde(flatten)]
    pub device: DeviceStats,
    /// Sound that was missing when the device asked for it, in milliseconds.
    pub starved_ms: u64,
    /// Sound that no device played, in milliseconds.
    pub unheard_ms: u64,
    /// How long sound waits for the device after it is mixed, in milliseconds.
    pub waits_ms: Option<f32>,
}

/// The devices of a call; `None` for a side that has a file or nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DevicesStats {
    /// The input device.
    pub microphone: Option<MicrophoneStats>,
    /// The output device.
    pub speakers: Option<SpeakersStats>,
}

impl DeviceStats {
    pub(super) fn of<B: Backend>(line: &Line<B>, now: Instant, drift: Option<f64>) -> Self {
        let device = line.device();
        let totals = line.totals();
        let xruns = totals.faults[Fault::Xrun as usize];
        Self {
            device: device.map(|device| device.name.clone()),
            stands_in: line.stands_in(),
            state: match line.health(now) {
                Health::Moving => DeviceState::Moving,
                Health::Still => DeviceState::Still,
                Health::None => DeviceState::None,
            },
            rate: device.map(|device| device.rate),
            channels: device.map(|device| device.channels),
            format: device.map(|device| device.format.clone()),
            period_ms: device.map(|device| device.period.as_secs_f32() * 1000.0),
            drift_ppm: drift.map(|ppm| ppm as f32),
            xruns,
            errors: totals.faults.iter().sum::<u64>() - xruns,
            lost: totals.lost,
        }
    }

    /// A summary of faults for a person; `None` if there were none.
    pub fn trouble(&self) -> Option<String> {
        let counts = [
            (self.xruns, "xrun", "xruns"),
            (self.errors, "error", "errors"),
            (self.lost, "time lost", "times lost"),
        ];
        let said: Vec<_> = counts
            .iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many }))
            .collect();
        (!said.is_empty()).then(|| said.join(", "))
    }
}
