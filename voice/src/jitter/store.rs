//! The packets that wait: in order, bounded, in buffers that are used again.

use std::collections::VecDeque;

use super::ms;

/// Most packets that wait.
pub(super) const MAX_PACKETS: usize = 64;
/// Longest time from the first waiting packet's start to the last one's end, in samples.
pub(super) const MAX_SPAN: i64 = ms(1000);

/// A packet that waits; timestamps are unwrapped.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) timestamp: i64,
    pub(super) duration: i64,
    pub(super) talkspurt: bool,
    pub(super) redundant: bool,
    bytes: Vec<u8>,
}

impl Waiting {
    pub(super) fn end(&self) -> i64 {
        self.timestamp + self.duration
    }
}

/// The result of an insertion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stored {
    /// The packet is stored; this number of older ones was removed for it.
    Yes { evicted: u32 },
    /// As good a copy waits already, or this one is older than all that fits.
    No,
}

/// Waiting packets by timestamp, one for each.
#[derive(Debug, Default)]
pub(super) struct PacketStore {
    waiting: VecDeque<Waiting>,
    spare: Vec<Vec<u8>>,
}

impl PacketStore {
    /// Stores a copy of `packet`. A primary takes the place of a redundant copy, never the other way around.
    pub(super) fn insert(
        &mut self,
        timestamp: i64,
        duration: i64,
        talkspurt: bool,
        redundant: bool,
        packet: &[u8],
    ) -> Stored {
        let index = self.waiting.partition_point(|w| w.timestamp < timestamp);
        let same = self
            .waiting
            .get_mut(index)
            .filter(|w| w.timestamp == timestamp);
        if let Some(same) = same {
            if redundant || !same.redundant {
                return Stored::No;
            }
            same.duration = duration;
            same.talkspurt = talkspurt;
            same.redundant = false;
            same.bytes.clear();
            same.bytes.extend_from_slice(packet);
            return Stored::Yes { evicted: 0 };
        }
        if self.end().is_some_and(|end| end - timestamp > MAX_SPAN) {
            return Stored::No;
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.extend_from_slice(packet);
        self.waiting.insert(
            index,
            Waiting {
                timestamp,
                duration,
                talkspurt,
                redundant,
                bytes,
            },
        );
        self.move_talkspurt_back(index);
        let mut evicted = 0;
        while self.waiting.len() > MAX_PACKETS || self.span() > MAX_SPAN {
            self.drop_first();
            evicted += 1;
        }
        Stored::Yes { evicted }
    }

    /// A talkspurt that goes on before its first primary begins there: in copies of what was not sent by itself.
    fn move_talkspurt_back(&mut self, inserted: usize) {
        // It may have filled a hole in front of the talkspurt, with more packets before it.
        let mut later = (inserted + 1).min(self.waiting.len().saturating_sub(1));
        while later > 0 {
            let earlier = later - 1;
            let is_next = self.waiting[earlier].end() == self.waiting[later].timestamp;
            if !(is_next && self.waiting[later].talkspurt && self.waiting[earlier].redundant) {
                return;
            }
            self.waiting[later].talkspurt = false;
            self.waiting[earlier].talkspurt = true;
            later = earlier;
        }
    }

    /// The oldest waiting packet.
    pub(super) fn first(&self) -> Option<&Waiting> {
        self.waiting.front()
    }

    /// Swaps the oldest packet's bytes into `bytes`.
    pub(super) fn take_first(&mut self, bytes: &mut Vec<u8>) {
        if let Some(mut first) = self.waiting.pop_front() {
            std::mem::swap(bytes, &mut first.bytes);
            self.recycle(first.bytes);
        }
    }

    /// Throws the oldest packet away.
    pub(super) fn drop_first(&mut self) {
        if let Some(first) = self.waiting.pop_front() {
            self.recycle(first.bytes);
        }
    }

    /// Throws all away.
    pub(super) fn clear(&mut self) {
        while !self.waiting.is_empty() {
            self.drop_first();
        }
    }

    /// Packets that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Time from the first packet's start to the last one's end, in samples.
    pub(super) fn span(&self) -> i64 {
        match (self.waiting.front(), self.end()) {
            (Some(first), Some(end)) => end - first.timestamp,
            _ => 0,
        }
    }

    fn end(&self) -> Option<i64> {
        self.waiting.back().map(Waiting::end)
    }

    fn recycle(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < MAX_PACKETS {
            bytes.clear();
            self.spare.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(store: &mut PacketStore, timestamp: i64, redundant: bool) -> Stored {
        store.insert(timestamp, 960, false, redundant, &[redundant.into()])
    }

    #[test]
    fn packets_come_out_in_order_whatever_the_order_they_came_in() {
        let mut store = PacketStore::default();
        for n in [3, 1, 4, 0, 2] {
            assert_eq!(
                insert(&mut store, n * 960, false),
                Stored::Yes { evicted: 0 }
            );
        }
        for n in 0..5 {
            assert_eq!(store.first().unwrap().timestamp, n * 960);
            store.drop_first();
        }
    }

    #[test]
    fn a_redundant_copy_never_replaces_a_primary_but_is_replaced_by_one() {
        let mut store = PacketStore::default();
        insert(&mut store, 0, true);
        assert_eq!(insert(&mut store, 0, true), Stored::No);
        assert_eq!(insert(&mut store, 0, false), Stored::Yes { evicted: 0 });
        assert_eq!(insert(&mut store, 0, true), Stored::No);
        assert_eq!(insert(&mut store, 0, false), Stored::No);
        assert!(!store.first().unwrap().redundant);
        let mut bytes = Vec::new();
        store.take_first(&mut bytes);
        assert_eq!(bytes, [0]);
    }

    #[test]
    fn a_talkspurt_begins_with_the_copies_that_lie_before_its_first_packet() {
        for order in [[1, 2, 3], [3, 2, 1], [2, 1, 3], [1, 3, 2]] {
            let mut store = PacketStore::default();
            store.insert(4 * 960, 960, true, false, &[0]);
            for n in order {
                insert(&mut store, n * 960, true);
            }
            let spurts: Vec<bool> = store.waiting.iter().map(|one| one.talkspurt).collect();
            assert_eq!(spurts, [true, false, false, false], "{order:?}");
        }
    }

    #[test]
    fn copies_that_do_not_reach_a_talkspurt_leave_it_alone() {
        let mut store = PacketStore::default();
        store.insert(4 * 960, 960, true, false, &[0]);
        insert(&mut store, 2 * 960, true);
        assert!(!store.first().unwrap().talkspurt);
    }

    #[test]
    fn the_oldest_make_room_when_more_than_a_second_waits() {
        let mut store = PacketStore::default();
        for n in 0..200 {
            insert(&mut store, n * 960, false);
            assert!(store.span() <= MAX_SPAN);
        }
        assert_eq!(store.len(), 50);
        assert_eq!(insert(&mut store, 0, false), Stored::No);
        for n in 0..200 {
            store.insert(n * 120 + 192_000, 120, false, false, &[0]);
        }
        assert_eq!(store.len(), MAX_PACKETS);
    }
}
