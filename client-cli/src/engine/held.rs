//! Frames that cannot be opened yet: their epoch, or the news of their sender, is still on its way. Voice, the group's messages
//! and events take different ways, and voice may be faster.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use confab_protocol::media::downlink::Record;
use confab_protocol::media::{AudioLevel, KeyId};

/// Most frames that are held.
const MAX_FRAMES: usize = 256;

/// Most frames of one leaf: nobody takes the places of all others.
const MAX_FRAMES_OF_LEAF: usize = 16;

/// How long a frame is held.
const HOLD_FOR: Duration = Duration::from_millis(300);

/// The frames, oldest first.
#[derive(Default)]
pub(super) struct HeldFrames(VecDeque<HeldFrame>);

pub(super) struct HeldFrame {
    since: Instant,
    key_id: KeyId,
    level: AudioLevel,
    sframe: Vec<u8>,
}

impl HeldFrames {
    /// Holds a frame; false if there is no room.
    pub(super) fn push(&mut self, now: Instant, key_id: KeyId, record: Record<'_>) -> bool {
        let of_leaf = self.0.iter().filter(|one| one.key_id.leaf == key_id.leaf);
        if self.0.len() >= MAX_FRAMES || of_leaf.count() >= MAX_FRAMES_OF_LEAF {
            return false;
        }
        self.0.push_back(HeldFrame {
            since: now,
            key_id,
            level: record.level,
            sframe: record.sframe.to_vec(),
        });
        true
    }

    /// Takes out the frames whose key ids can be opened now, oldest first.
    pub(super) fn take(&mut self, can_be_opened: impl Fn(KeyId) -> bool) -> VecDeque<HeldFrame> {
        if !self.0.iter().any(|frame| can_be_opened(frame.key_id)) {
            return VecDeque::new();
        }
        let (taken, others) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|frame| can_be_opened(frame.key_id));
        self.0 = others;
        taken
    }

    /// When the oldest frame expires.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.0.front().map(|frame| frame.since + HOLD_FOR)
    }

    /// Drops the oldest frame if it has expired; its key id.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<KeyId> {
        let expired = self.poll_timeout().is_some_and(|at| now >= at);
        let frame = expired.then(|| self.0.pop_front())?;
        frame.map(|frame| frame.key_id)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record<'static> {
        Record {
            sender: 0,
            level: AudioLevel::SILENCE,
            sframe: &[1, 2, 3],
        }
    }

    #[test]
    fn one_leaf_takes_sixteen_places_and_all_together_take_256() {
        let (now, mut held) = (Instant::now(), HeldFrames::default());
        let mut taken = 0;
        for leaf in 0..20 {
            for epoch in 0..20 {
                taken += usize::from(held.push(now, KeyId::new(leaf, 0, epoch), record()));
            }
            if leaf == 0 {
                assert_eq!(taken, MAX_FRAMES_OF_LEAF);
            }
        }
        assert_eq!(taken, MAX_FRAMES);
    }

    #[test]
    fn a_frame_expires_300_ms_after_it_came_unless_it_was_taken() {
        let (start, mut held) = (Instant::now(), HeldFrames::default());
        let [one, two] = [1, 2].map(|leaf| KeyId::new(leaf, 0, 0));
        held.push(start, one, record());
        held.push(start + Duration::from_millis(10), two, record());
        assert_eq!(held.take(|key_id| key_id == one).len(), 1);
        assert_eq!(
            held.poll_timeout(),
            Some(start + Duration::from_millis(310))
        );
        assert_eq!(held.pop_expired(start + Duration::from_millis(309)), None);
        assert_eq!(
            held.pop_expired(start + Duration::from_millis(310)),
            Some(two)
        );
        assert_eq!(held.poll_timeout(), None);
    }
}
