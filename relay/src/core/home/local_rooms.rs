//! The table of a worker's rooms: rooms whose home it is, and rooms that it has sessions of.

use std::collections::HashMap;
use std::sync::Arc;

use confab_protocol::control::ConferenceId;

use super::open_bundle::OpenBundle;
use crate::core::loudest::Loudest;
use crate::core::room::Room;

/// A room's index at its worker. It is not given to another room while a session or an open bundle of this one has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::core) struct RoomIndex(usize);

/// Rooms by index.
#[derive(Default)]
pub(super) struct LocalRooms {
    rooms: Vec<LocalRoom>,
    free: Vec<RoomIndex>,
    by_id: HashMap<ConferenceId, RoomIndex, foldhash::quality::RandomState>,
}

/// A room at one worker.
pub(super) struct LocalRoom {
    /// `None` if the room is gone and only an open bundle still has its index.
    pub(super) shared: Option<Arc<Room>>,
    /// Sessions of it here, and one more while this worker is its home.
    holds: usize,
    /// At the home: the bundle that waits for more frames.
    pub(super) bundle: Option<OpenBundle>,
    /// True while the room is among the worker's open rooms. Its index is not given to another room until then.
    pub(super) is_open: bool,
    /// At the home: the speakers that are forwarded. Elsewhere: a choice among the members here, before the home's.
    pub(super) loudest: Loudest,
}

impl LocalRooms {
    /// The room's index, which is kept until [`release`](Self::release) has been called as often as this.
    pub(super) fn hold(&mut self, room: &Arc<Room>) -> RoomIndex {
        if let Some(index) = self.find(room)
            && let Some(held) = self.get_mut(index)
        {
            held.holds += 1;
            return index;
        }
        let held = LocalRoom {
            shared: Some(Arc::clone(room)),
            holds: 1,
            bundle: None,
            is_open: false,
            loudest: Loudest::default(),
        };
        let free = self.free.pop();
        let index = match free.and_then(|index| Some((index, self.get_mut(index)?))) {
            Some((index, free)) => {
                *free = held;
                index
            }
            None => {
                self.rooms.push(held);
                RoomIndex(self.rooms.len() - 1)
            }
        };
        self.by_id.insert(room.id, index);
        index
    }

    /// Ends one hold.
    pub(super) fn release(&mut self, index: RoomIndex) {
        let room = self.rooms.get_mut(index.0);
        let Some(room) = room.filter(|room| room.holds > 0) else {
            return;
        };
        room.holds -= 1;
        if room.holds > 0 {
            return;
        }
        let is_open = room.is_open;
        room.loudest = Loudest::default();
        if let Some(shared) = room.shared.take()
            && self.by_id.get(&shared.id) == Some(&index)
        {
            self.by_id.remove(&shared.id);
        }
        if !is_open {
            self.free.push(index);
        }
    }

    /// The index of exactly this room: a room that closed and opened again has the same id and other members.
    pub(super) fn find(&self, room: &Arc<Room>) -> Option<RoomIndex> {
        let index = *self.by_id.get(&room.id)?;
        let shared = self.get(index)?.shared.as_ref()?;
        Arc::ptr_eq(shared, room).then_some(index)
    }

    /// The room has no bundle any more. Frees its index if nothing holds it.
    pub(super) fn settle(&mut self, index: RoomIndex) {
        let Some(room) = self.get_mut(index) else {
            return;
        };
        let was_open = std::mem::replace(&mut room.is_open, false);
        if was_open && room.holds == 0 {
            self.free.push(index);
        }
    }

    pub(super) fn get(&self, index: RoomIndex) -> Option<&LocalRoom> {
        self.rooms.get(index.0)
    }

    pub(super) fn get_mut(&mut self, index: RoomIndex) -> Option<&mut LocalRoom> {
        self.rooms.get_mut(index.0)
    }
}
