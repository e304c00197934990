//! The rooms of one worker: those whose home it is, and those that it has sessions of.

use std::collections::HashMap;
use std::sync::Arc;

use confab_protocol::control::ConferenceId;

use super::home::OpenBundle;
use super::loudest::Loudest;
use super::room::Room;

/// Rooms by their place, which stays the same for as long as anything here names it.
#[derive(Default)]
pub(super) struct LocalRooms {
    places: Vec<LocalRoom>,
    free: Vec<usize>,
    by_id: HashMap<ConferenceId, usize, foldhash::quality::RandomState>,
}

/// A room at one worker.
pub(super) struct LocalRoom {
    /// `None` when it is gone and only its place is still named by a closing bundle.
    pub(super) shared: Option<Arc<Room>>,
    /// Sessions of it here, and one more while this worker is its home.
    holds: usize,
    /// At the home: what waits for more frames.
    pub(super) bundle: Option<OpenBundle>,
    /// True while it is among the worker's open rooms; its place is not given again before.
    pub(super) is_open: bool,
    /// At the home: who is forwarded. Elsewhere: who may be, of the members here.
    pub(super) loudest: Loudest,
}

impl LocalRooms {
    /// The room's place, which is held from now on until [`let_go`](Self::let_go).
    pub(super) fn hold(&mut self, room: &Arc<Room>) -> usize {
        if let Some(place) = self.find(room)
            && let Some(held) = self.places.get_mut(place)
        {
            held.holds += 1;
            return place;
        }
        let held = LocalRoom {
            shared: Some(Arc::clone(room)),
            holds: 1,
            bundle: None,
            is_open: false,
            loudest: Loudest::default(),
        };
        let free = self.free.pop();
        let place = match free.and_then(|place| Some((place, self.places.get_mut(place)?))) {
            Some((place, free)) => {
                *free = held;
                place
            }
            None => {
                self.places.push(held);
                self.places.len() - 1
            }
        };
        self.by_id.insert(room.id, place);
        place
    }

    /// Ends one hold.
    pub(super) fn let_go(&mut self, place: usize) {
        let Some(room) = self.places.get_mut(place).filter(|room| room.holds > 0) else {
            return;
        };
        room.holds -= 1;
        if room.holds > 0 {
            return;
        }
        let is_open = room.is_open;
        room.loudest = Loudest::default();
        if let Some(shared) = room.shared.take()
            && self.by_id.get(&shared.id) == Some(&place)
        {
            self.by_id.remove(&shared.id);
        }
        if !is_open {
            self.free.push(place);
        }
    }

    /// The place of exactly this room: one that closed and opened again has the same id and other members.
    pub(super) fn find(&self, room: &Arc<Room>) -> Option<usize> {
        let place = *self.by_id.get(&room.id)?;
        let shared = self.places.get(place)?.shared.as_ref()?;
        Arc::ptr_eq(shared, room).then_some(place)
    }

    /// The room has no bundle any more. Its place is free if nobody holds it.
    pub(super) fn settle(&mut self, place: usize) {
        let Some(room) = self.places.get_mut(place) else {
            return;
        };
        let was_open = std::mem::replace(&mut room.is_open, false);
        if was_open && room.holds == 0 {
            self.free.push(place);
        }
    }

    /// The room at a place.
    pub(super) fn get(&self, place: usize) -> Option<&LocalRoom> {
        self.places.get(place)
    }

    /// The room at a place, to change it.
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut LocalRoom> {
        self.places.get_mut(place)
    }
}
