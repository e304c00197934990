//! Whether the frames of each participant open: one whose frames do not takes a place among the loudest and is heard by nobody.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use confab_protocol::control::{FRAMES_REPORT_SECONDS, JoinId, MIN_FAILED_FRAMES};

/// Time over which frames are counted, and between two reports of one participant.
const WINDOW: Duration = Duration::from_secs(FRAMES_REPORT_SECONDS);

/// Counts the frames of announced participants.
#[derive(Debug, Default)]
pub(super) struct Readability {
    by_join: BTreeMap<JoinId, Counts>,
}

/// Frames of one participant within [`WINDOW`].
#[derive(Debug)]
struct Counts {
    since: Instant,
    opened: u32,
    failed: u32,
    reported: bool,
}

/// At least half of a participant's frames do not open, and [`MIN_FAILED_FRAMES`] at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable {
    /// The participant's leaf now.
    pub leaf: u32,
    pub counts: UnreadableCounts,
}

/// Frames within the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadableCounts {
    /// Frames that opened.
    pub opened: u32,
    /// Frames that did not decrypt, or held no voice.
    pub failed: u32,
}

impl Readability {
    /// Counts a frame of `join` that decrypted and held voice.
    pub(super) fn opened(&mut self, now: Instant, join: JoinId) {
        self.counts(now, join).opened += 1;
    }

    /// Counts a frame of `join` that did not decrypt, or held no voice. Returns a report, once in a window.
    pub(super) fn failed(&mut self, now: Instant, join: JoinId) -> Option<UnreadableCounts> {
        let counts = self.counts(now, join);
        counts.failed += 1;
        let is_due = counts.failed >= MIN_FAILED_FRAMES && counts.failed >= counts.opened;
        if !is_due || std::mem::replace(&mut counts.reported, true) {
            return None;
        }
        Some(UnreadableCounts {
            opened: counts.opened,
            failed: counts.failed,
        })
    }

    /// Forgets the counts of a participant that left.
    pub(super) fn forget(&mut self, join: JoinId) {
        self.by_join.remove(&join);
    }

    fn counts(&mut self, now: Instant, join: JoinId) -> &mut Counts {
        let fresh = Counts {
            since: now,
            opened: 0,
            failed: 0,
            reported: false,
        };
        let counts = self.by_join.entry(join).or_insert(fresh);
        if now.saturating_duration_since(counts.since) >= WINDOW {
            *counts = Counts {
                since: now,
                opened: 0,
                failed: 0,
                reported: false,
            };
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOIN: JoinId = JoinId::new([1; 16]);

    #[test]
    fn fifty_failures_that_are_half_of_all_are_reported_once_in_five_seconds() {
        let start = Instant::now();
        let mut frames = Readability::default();
        let mut reports = Vec::new();
        for n in 0..1000u64 {
            // 20 ms apart: 250 frames in a window.
            let now = start + Duration::from_millis(20 * n);
            reports.extend(frames.failed(now, JOIN).map(|report| (n, report)));
        }
        let times: Vec<u64> = reports.iter().map(|(n, _)| *n).collect();
        assert_eq!(times, [49, 299, 549, 799]);
        assert_eq!((reports[0].1.opened, reports[0].1.failed), (0, 50));
    }

    #[test]
    fn a_few_lost_keys_among_many_good_frames_are_no_matter() {
        let start = Instant::now();
        let mut frames = Readability::default();
        for n in 0..3000u64 {
            let now = start + Duration::from_millis(20 * n);
            if n % 3 == 0 {
                assert_eq!(frames.failed(now, JOIN), None);
            } else {
                frames.opened(now, JOIN);
            }
        }
    }
}
