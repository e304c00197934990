//! The receivers of a worker: the part of a session that sending to it needs, apart from all that its own datagrams need.

use confab_protocol::media::{HopKey, PACKET_NUMBER_LIMIT};

use crate::core::path::FourTuple;

/// Receivers by the slots of their sessions. A slot without a session has a receiver without a path.
#[derive(Default)]
pub(super) struct Receivers(Vec<Receiver>);

/// A session as its datagrams are sent to it.
pub(in crate::core) struct Receiver {
    path: Option<FourTuple>,
    key: HopKey,
    /// Number of the next datagram: [`PACKET_NUMBER_LIMIT`] if all are taken.
    next: u32,
}

impl Receivers {
    /// Puts a receiver without a path into a slot. It tags its datagrams by `key`.
    pub(super) fn open(&mut self, slot: u32, key: &HopKey) {
        let slot = slot as usize;
        if self.0.len() <= slot {
            self.0.resize_with(slot + 1, Receiver::none);
        }
        if let Some(receiver) = self.0.get_mut(slot) {
            *receiver = Receiver {
                path: None,
                key: key.clone(),
                next: 0,
            };
        }
    }

    /// Empties a slot.
    pub(super) fn close(&mut self, slot: u32) {
        if let Some(receiver) = self.get_mut(slot) {
            *receiver = Receiver::none();
        }
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Receiver> {
        self.0.get(slot as usize)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Receiver> {
        self.0.get_mut(slot as usize)
    }

    /// Takes the number of a datagram that is queued now; `None` if all are taken.
    pub(super) fn take_number(&mut self, slot: u32) -> Option<(&Receiver, u32)> {
        let receiver = self.get_mut(slot)?;
        let number = receiver.next_number()?;
        receiver.next = number + 1;
        Some((receiver, number))
    }

    /// As [`take_number`](Self::take_number), if the slot has a path: the path, the key for its datagrams, the number.
    pub(super) fn take_number_on_path(&mut self, slot: u32) -> Option<(FourTuple, &HopKey, u32)> {
        let path = self.get(slot)?.path?;
        let (receiver, number) = self.take_number(slot)?;
        Some((path, &receiver.key, number))
    }

    /// Takes the next number of a slot, whose datagram was sent.
    pub(super) fn count_sent(&mut self, slot: u32) {
        if let Some(receiver) = self.get_mut(slot) {
            receiver.next += 1;
        }
    }
}

impl Receiver {
    const fn none() -> Self {
        Self {
            path: None,
            key: HopKey::new([0; HopKey::LEN]),
            next: 0,
        }
    }

    /// The proved path.
    pub(in crate::core) fn path(&self) -> Option<FourTuple> {
        self.path
    }

    pub(super) fn set_path(&mut self, path: Option<FourTuple>) {
        self.path = path;
    }

    /// Tags the datagrams to this receiver.
    pub(in crate::core) fn key(&self) -> &HopKey {
        &self.key
    }

    /// The number of the next datagram; `None` if all are taken.
    pub(in crate::core) fn next_number(&self) -> Option<u32> {
        (self.next < PACKET_NUMBER_LIMIT).then_some(self.next)
    }
}
