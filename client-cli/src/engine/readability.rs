//! Whether the frames under each leaf open: a participant whose frames do not takes a place among the loudest and is heard by
//! nobody.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use confab_protocol::control::{FRAMES_REPORT_SECONDS, MIN_FAILED_FRAMES};

/// Time over which frames are counted, and between two reports of one leaf.
const WINDOW: Duration = Duration::from_secs(FRAMES_REPORT_SECONDS);

/// Counts the frames of known leaves.
#[derive(Debug, Default)]
pub(super) struct Readability {
    by_leaf: BTreeMap<u32, Counts>,
}

/// Frames of one leaf within [`WINDOW`].
#[derive(Debug)]
struct Counts {
    since: Instant,
    opened: u32,
    failed: u32,
    reported: bool,
}

/// At least half of a leaf's frames do not open, and [`MIN_FAILED_FRAMES`] at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable {
    /// The leaf in the frames' key ids.
    pub leaf: u32,
    /// Frames that opened within the window.
    pub opened: u32,
    /// Frames that did not decrypt, or held no voice.
    pub failed: u32,
}

impl Readability {
    /// Counts a frame of `leaf` that decrypted and held voice.
    pub(super) fn opened(&mut self, now: Instant, leaf: u32) {
        self.counts(now, leaf).opened += 1;
    }

    /// Counts a frame of `leaf` that did not decrypt, or held no voice. Returns a report, once in a window.
    pub(super) fn failed(&mut self, now: Instant, leaf: u32) -> Option<Unreadable> {
        let counts = self.counts(now, leaf);
        counts.failed += 1;
        let is_due = counts.failed >= MIN_FAILED_FRAMES && counts.failed >= counts.opened;
        if !is_due || std::mem::replace(&mut counts.reported, true) {
            return None;
        }
        Some(Unreadable {
            leaf,
            opened: counts.opened,
            failed: counts.failed,
        })
    }

    /// Forgets the counts of `leaf`: its participant left or changed.
    pub(super) fn forget(&mut self, leaf: u32) {
        self.by_leaf.remove(&leaf);
    }

    fn counts(&mut self, now: Instant, leaf: u32) -> &mut Counts {
        let fresh = Counts {
            since: now,
            opened: 0,
            failed: 0,
            reported: false,
        };
        let counts = self.by_leaf.entry(leaf).or_insert(fresh);
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

    #[test]
    fn fifty_failures_that_are_half_of_all_are_reported_once_in_five_seconds() {
        let start = Instant::now();
        let mut frames = Readability::default();
        let mut reports = Vec::new();
        for n in 0..1000u64 {
            // 20 ms apart: 250 frames in a window.
            let now = start + Duration::from_millis(20 * n);
            reports.extend(frames.failed(now, 1).map(|report| (n, report)));
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
                assert_eq!(frames.failed(now, 1), None);
            } else {
                frames.opened(now, 1);
            }
        }
    }
}
