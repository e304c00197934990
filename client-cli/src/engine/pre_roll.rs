//! Frames from before a gate opened: a word may begin in them. They go beside the first frame, as copies: by themselves they would
//! be a burst of packets, which looks like jitter to who receives it.

use std::collections::VecDeque;

use confab_protocol::media::payload::MAX_BLOCKS;
use confab_voice::{Code, Profile, SAMPLES_PER_MS};

/// A word may begin so much before the gate opens, in samples (100 ms).
const LONGEST: usize = 100 * SAMPLES_PER_MS;

/// The frames before the next one that were not sent.
#[derive(Debug, Default)]
pub(super) struct PreRoll {
    /// The oldest first, [`LONGEST`] at most.
    kept: VecDeque<Vec<f32>>,
    /// How many went beside the frame before.
    sent: u32,
}

impl PreRoll {
    /// Keeps a frame that is not sent, for the next ones.
    pub(super) fn keep(&mut self, frame: &[f32]) {
        let most = (LONGEST / frame.len()).clamp(1, MAX_BLOCKS);
        // One of another length does not fit before this one.
        self.kept.retain(|kept| kept.len() == frame.len());
        while self.kept.len() >= most {
            self.kept.pop_front();
        }
        self.kept.push_back(frame.to_vec());
    }

    /// What was kept belongs to nothing that comes.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }

    /// Takes the frames before one of `samples` samples that is sent now, the oldest first.
    pub(super) fn take(&mut self, samples: usize) -> VecDeque<Vec<f32>> {
        self.kept.retain(|kept| kept.len() == samples);
        std::mem::take(&mut self.kept)
    }

    /// The codes beside a frame before which `count` were taken, where otherwise `planned` would stand. Where frames are lost
    /// the next one repeats the copies.
    pub(super) fn codes(&mut self, count: usize, profile: &Profile, planned: &[Code]) -> Vec<Code> {
        let count = count as u32;
        let again = std::mem::replace(&mut self.sent, count);
        // The newest first: if not all fit, what is left begins later and has no hole.
        let mut codes: Vec<Code> = match (count, again) {
            (1.., _) => (1..=count).map(Code::Copy).collect(),
            (0, 1..) if profile.protects() => {
                let copies = (2..=again + 1).map(Code::Copy);
                planned.iter().copied().chain(copies).collect()
            }
            _ => planned.to_vec(),
        };
        codes.truncate(MAX_BLOCKS);
        codes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_100_ms_are_kept_and_no_more_than_there_are_blocks() {
        for (samples, most) in [(480, 7), (960, 5), (1920, 2), (2880, 1)] {
            let mut pre_roll = PreRoll::default();
            (0..20).for_each(|n| pre_roll.keep(&vec![n as f32; samples]));
            let taken = pre_roll.take(samples);
            assert_eq!(taken.len(), most);
            assert_eq!(taken[most - 1][0], 19.0);
            assert!(pre_roll.take(samples).is_empty());
        }
    }

    #[test]
    fn frames_of_another_length_are_left_out() {
        let mut pre_roll = PreRoll::default();
        pre_roll.keep(&[0.0; 960]);
        assert!(pre_roll.take(480).is_empty());
        pre_roll.keep(&[0.0; 960]);
        pre_roll.keep(&[0.0; 480]);
        assert_eq!(pre_roll.take(480).len(), 1);
    }

    #[test]
    fn copies_are_repeated_once_and_only_where_frames_are_lost() {
        let copies =
            |range: std::ops::RangeInclusive<u32>| -> Vec<Code> { range.map(Code::Copy).collect() };
        for (profile, again) in [(Profile::OFF, vec![]), (Profile::COPY_3, copies(2..=4))] {
            let mut pre_roll = PreRoll::default();
            assert_eq!(pre_roll.codes(3, profile, &[]), copies(1..=3));
            assert_eq!(pre_roll.codes(0, profile, &[]), again);
            assert_eq!(pre_roll.codes(0, profile, &[]), []);
        }
    }
}
