//! Frames whose sender is not known yet: audio and the news of a join take different ways, and audio may be faster.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use confab_protocol::media::AudioLevel;
use confab_protocol::media::downlink::Record;

/// Most frames that are held.
const MAX_FRAMES: usize = 64;

/// How long a frame is held.
const HOLD_FOR: Duration = Duration::from_millis(500);

/// The frames, oldest first.
#[derive(Default)]
pub(super) struct HeldFrames(VecDeque<HeldFrame>);

pub(super) struct HeldFrame {
    since: Instant,
    leaf: u32,
    level: AudioLevel,
    sframe: Vec<u8>,
}

impl HeldFrames {
    pub(super) fn has_room(&self) -> bool {
        self.0.len() < MAX_FRAMES
    }

    /// Holds a frame of an unknown leaf.
    pub(super) fn push(&mut self, now: Instant, leaf: u32, record: Record<'_>) {
        self.0.push_back(HeldFrame {
            since: now,
            leaf,
            level: record.level,
            sframe: record.sframe.to_vec(),
        });
    }

    /// Takes out the frames of a leaf, oldest first.
    pub(super) fn take(&mut self, leaf: u32) -> VecDeque<HeldFrame> {
        let (of_leaf, others) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|frame| frame.leaf == leaf);
        self.0 = others;
        of_leaf
    }

    /// When the oldest frame expires.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.0.front().map(|frame| frame.since + HOLD_FOR)
    }

    /// Drops the oldest frame if it has expired; its leaf.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<u32> {
        let expired = self.poll_timeout().is_some_and(|at| now >= at);
        let frame = expired.then(|| self.0.pop_front())?;
        frame.map(|frame| frame.leaf)
    }
}

impl HeldFrame {
    /// The frame as a record. Its sender label is 0: it is not read where there is a frame.
    pub(super) fn record(&self) -> Record<'_> {
        Record {
            sender: 0,
            level: self.level,
            sframe: &self.sframe,
        }
    }
}
