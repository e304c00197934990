//! Queues between workers: each has a bounded inbox for frames and bundles that another worker has to process.
//!
//! Nothing here waits. A full inbox refuses an item, and the sender counts it as dropped.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use super::egress::Fanout;
use super::frame::CheckedFrame;
use super::packet::Packet;
use super::room::Room;

/// The inboxes of all workers.
pub struct Crossings {
    inboxes: Box<[Inbox]>,
}

struct Inbox {
    ring: ArrayQueue<Crossing>,
    /// Buffers that other workers have released. There is room for every buffer of the worker's pool.
    returned: ArrayQueue<Box<Packet>>,
}

/// An item that one worker hands to another.
pub(super) enum Crossing {
    /// A datagram that came to another worker's socket.
    Datagram(Box<Packet>),
    /// A frame that passed its session's checks, for the worker that is its room's home.
    Frame(Box<Packet>, Arc<Room>, CheckedFrame),
    /// Frames for the receivers at the worker that it is handed to.
    Fanout(Fanout),
}

impl Crossings {
    /// Inboxes for `workers`, with room for `ring` entries each. Workers have pools of `buffers`.
    pub fn new(workers: usize, ring: usize, buffers: usize) -> Self {
        let inbox = || Inbox {
            ring: ArrayQueue::new(ring),
            returned: ArrayQueue::new(buffers),
        };
        Self {
            inboxes: (0..workers).map(|_| inbox()).collect(),
        }
    }

    pub(super) fn workers(&self) -> usize {
        self.inboxes.len()
    }

    /// Puts an item into a worker's inbox; gives it back if that is full, or if there is no such worker.
    pub(super) fn send(&self, to: u8, crossing: Crossing) -> Result<(), Crossing> {
        match self.inboxes.get(usize::from(to)) {
            Some(inbox) => inbox.ring.push(crossing),
            None => Err(crossing),
        }
    }

    /// The next item of a worker's inbox.
    pub(super) fn receive(&self, worker: u8) -> Option<Crossing> {
        self.inboxes.get(usize::from(worker))?.ring.pop()
    }

    pub(super) fn is_empty(&self, worker: u8) -> bool {
        let inbox = self.inboxes.get(usize::from(worker));
        inbox.is_none_or(|inbox| inbox.ring.is_empty())
    }

    /// Gives a buffer back to the worker that owns it.
    pub(super) fn give_back(&self, packet: Box<Packet>) {
        if let Some(inbox) = self.inboxes.get(usize::from(packet.owner)) {
            // There is room for every buffer of the worker's.
            drop(inbox.returned.push(packet));
        }
    }

    /// A buffer of the worker's that another worker has given back.
    pub(super) fn take_back(&self, worker: u8) -> Option<Box<Packet>> {
        self.inboxes.get(usize::from(worker))?.returned.pop()
    }
}

/// A set of workers: a bit for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct WorkerSet([u64; 4]);

impl WorkerSet {
    pub(super) fn add(&mut self, worker: u8) {
        if let Some(word) = self.0.get_mut(usize::from(worker / 64)) {
            *word |= 1 << (worker % 64);
        }
    }

    /// The workers of the set, in the order of their indexes.
    pub(super) fn workers(self) -> impl Iterator<Item = u8> {
        let words = self.0.into_iter().zip((0..=u8::MAX).step_by(64));
        words.flat_map(|(word, first)| {
            (0..64).filter_map(move |bit| (word >> bit & 1 == 1).then_some(first + bit))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_has_a_bit_of_its_own() {
        let mut set = WorkerSet::default();
        assert_eq!(set.workers().count(), 0);
        for worker in [0, 63, 64, 255] {
            set.add(worker);
        }
        assert_eq!(set.workers().collect::<Vec<_>>(), [0, 63, 64, 255]);
    }
}
