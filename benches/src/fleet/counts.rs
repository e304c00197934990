//! A client's counts of its speakers.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::time::Instant;

/// The counts of one `stats` event. A speaker who left and came back goes on where they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    pub at: Instant,
    speakers: BTreeMap<String, Count>,
}

/// Counts of a speaker since the join.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub received: u64,
    /// Frames that were filled in.
    pub concealed: u64,
}

impl Counts {
    /// The counts of a `stats` event that was received at `at`.
    pub(super) fn read(at: Instant, stats: &Value) -> Self {
        let mut speakers: BTreeMap<String, Count> = BTreeMap::new();
        for one in stats["speakers"].as_array().into_iter().flatten() {
            let name = one["username"].as_str().unwrap_or_default();
            let number = |field: &str| one[field].as_u64().unwrap_or_default();
            let count = speakers.entry(name.to_owned()).or_default();
            count.received += number("frames_received");
            count.concealed += number("concealed");
        }
        Self { at, speakers }
    }

    /// Of this speaker; nothing of whom nothing is known.
    pub fn of(&self, speaker: &str) -> Count {
        self.speakers.get(speaker).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_a_rejoined_participant_are_added_up() {
        let one = |name, received, concealed| serde_json::json!({"username": name, "frames_received": received, "concealed": concealed});
        let speakers = [one("ann", 5, 1), one("ben", 7, 0), one("ann", 2, 3)];
        let stats = serde_json::json!({"event": "stats", "speakers": speakers});
        let counts = Counts::read(Instant::now(), &stats);
        let (received, concealed) = (7, 4);
        assert_eq!(
            counts.of("ann"),
            Count {
                received,
                concealed
            }
        );
        assert_eq!(counts.of("cem"), Count::default());
    }
}
