//! The summary of a call, in a line.

use crate::engine::stats::{SpeakerStats, Stats};

/// Up to this share of lost frames, and this round trip in milliseconds, a connection is good, or fair.
const GOOD: (f64, f64) = (0.02, 150.0);
const FAIR: (f64, f64) = (0.10, 300.0);

/// The line at the end of a call.
pub(super) fn left(reason: &str, lasted_ms: u64, stats: &Stats) -> String {
    let (talked, lasted) = (span(stats.talked_ms), span(lasted_ms));
    let talked = match stats.frames_sent {
        0 => format!("you said nothing in {lasted}"),
        _ => format!("you talked {talked} of {lasted}"),
    };
    format!("left ({reason}); {talked}; {}", connection(stats))
}

fn connection(stats: &Stats) -> String {
    let Some(rtt) = stats.rtt_ms else {
        return "no answer from the relay".into();
    };
    let lost = stats.uplink_loss.map_or(0.0, f64::from).max(lost(stats));
    let is_within = |(most_lost, most_rtt): (f64, f64)| lost <= most_lost && rtt <= most_rtt;
    if is_within(GOOD) {
        return "connection good".into();
    }
    let quality = if is_within(FAIR) { "fair" } else { "poor" };
    format!(
        "connection {quality}: {:.0} % lost, {rtt:.0} ms to the relay and back",
        lost * 100.0
    )
}

/// The share of the others' frames that did not come in time.
fn lost(stats: &Stats) -> f64 {
    let sum = |count: fn(&SpeakerStats) -> u64| -> u64 { stats.speakers.iter().map(count).sum() };
    let missing = sum(|one| one.lost + one.late);
    let all = missing + sum(|one| one.frames_received);
    missing as f64 / all.max(1) as f64
}

/// A time in the two units that say enough.
fn span(ms: u64) -> String {
    let seconds = ms.saturating_add(500) / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes @ 1..10, seconds) => format!("{minutes} min {seconds} s"),
        (0, minutes, _) => format!("{minutes} min"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn times_have_two_units_at_most() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (95, "1 min 35 s"),
            (14 * 60 + 7, "14 min"),
            (3600, "1 h"),
            (3 * 3600 + 125, "3 h 2 min"),
        ] {
            assert_eq!(span(seconds * 1000), text);
        }
    }
}
