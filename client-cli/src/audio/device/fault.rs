//! Faults of a device by class, and how often they are reported.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

/// A person hears of one kind of trouble at once, and then at most once in this time.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The class of an error of a device or its stream. What is done about it depends on nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The program was too late for the device, or the device stood still. The stream goes on by itself.
    Xrun,
    /// The device is not there: unplugged, or its stream has to be opened anew.
    Gone,
    /// The device takes none of the rates and sample formats that this program has.
    Refused,
    /// The sound server (PipeWire, PulseAudio, JACK) is not there.
    ServerGone,
    /// Another program has the device.
    Busy,
    /// The system does not let this program use the device.
    Denied,
    /// Opened, and moved no sound for longer than a device may.
    Stalled,
    /// Opening did not end.
    NoAnswer,
    /// The device takes or gives sound much faster than it lasts, as ALSA's `null` does.
    Unpaced,
    Other,
}

impl Fault {
    pub const ALL: [Self; 10] = [
        Self::Xrun,
        Self::Gone,
        Self::Refused,
        Self::ServerGone,
        Self::Busy,
        Self::Denied,
        Self::Stalled,
        Self::NoAnswer,
        Self::Unpaced,
        Self::Other,
    ];

    /// Why there is no sound, as it is said to a person.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Xrun => "the program was too late for it",
            Self::Gone => "it is not there any more",
            Self::Refused => "it takes no form of sound that this program has",
            Self::ServerGone => "the sound server is not there",
            Self::Busy => "another program has it",
            Self::Denied => "the system does not let this program use it",
            Self::Stalled => "it does not move",
            Self::NoAnswer => "opening it does not end",
            Self::Unpaced => "it does not keep time",
            Self::Other => "it reports an error",
        }
    }

    /// True when what the system says adds nothing for a person.
    pub fn says_it_all(self) -> bool {
        !matches!(self, Self::Other | Self::Refused)
    }

    /// True when the stream that reported it is over.
    pub fn ends_the_stream(self) -> bool {
        !matches!(self, Self::Xrun | Self::Busy | Self::Other)
    }
}

/// How often each class was met. Shared with the audio thread: counting takes no lock and allocates nothing.
#[derive(Debug, Default)]
pub struct FaultCounts([AtomicU64; Fault::ALL.len()]);

impl FaultCounts {
    pub fn add(&self, fault: Fault) {
        self.0[fault as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often `fault` was met.
    pub fn get(&self, fault: Fault) -> u64 {
        self.0[fault as usize].load(Ordering::Relaxed)
    }
}

/// Limits how often one kind of trouble is said: the first time at once, then together with how often it came.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    said: Option<Instant>,
    unsaid: u64,
}

impl Report {
    /// The fault has occurred `count` times more.
    pub fn add(&mut self, count: u64) {
        self.unsaid += count;
    }

    /// How often it came since it was last said, when it is time to say so.
    pub fn due(&mut self, now: Instant) -> Option<u64> {
        let too_early = self
            .said
            .is_some_and(|said| now.saturating_duration_since(said) < SAY_AGAIN_AFTER);
        if self.unsaid == 0 || too_early {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_is_counted_for_itself() {
        let counts = FaultCounts::default();
        for (n, fault) in Fault::ALL.into_iter().enumerate() {
            (0..=n).for_each(|_| counts.add(fault));
        }
        for (n, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(counts.get(fault), n as u64 + 1, "{fault:?}");
        }
    }

    #[test]
    fn the_first_is_said_at_once_and_thousands_after_it_once_in_five_seconds() {
        let start = Instant::now();
        let mut report = Report::default();
        assert_eq!(report.due(start), None);
        let mut said = Vec::new();
        for ms in 0..12_000 {
            let now = start + Duration::from_millis(ms);
            report.add(1);
            said.extend(report.due(now).map(|count| (ms, count)));
        }
        assert_eq!(said, [(0, 1), (5000, 5000), (10_000, 5000)]);
    }

    #[test]
    fn suppressed_faults_are_reported_later_even_without_new_ones() {
        let start = Instant::now();
        let mut report = Report::default();
        report.add(1);
        report.due(start);
        report.add(7);
        assert_eq!(report.due(start + Duration::from_secs(1)), None);
        assert_eq!(report.due(start + SAY_AGAIN_AFTER), Some(7));
        assert_eq!(report.due(start + SAY_AGAIN_AFTER * 2), None);
    }
}
