//! Rooms: who is in, and the snapshot of it that packets read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use confab_protocol::control::ConferenceId;

use super::session::SessionInfo;

/// A room that is live at this relay.
pub struct Room {
    /// Which conference.
    pub id: ConferenceId,
    /// The worker on which the room's sessions live.
    pub worker: u8,
    members: Mutex<BTreeMap<u16, Arc<SessionInfo>>>,
    snapshot: ArcSwap<Snapshot>,
    /// True while the members have changed since the snapshot was taken.
    stale: AtomicBool,
}

/// Who hears the room, as it was a moment ago. Packets read it; changes replace it.
#[derive(Default)]
pub struct Snapshot {
    /// Everyone, by slot of the room's worker.
    pub receivers: Box<[u32]>,
}

impl Room {
    /// An empty room on `worker`.
    pub fn new(id: ConferenceId, worker: u8) -> Self {
        Self {
            id,
            worker,
            members: Mutex::default(),
            snapshot: ArcSwap::default(),
            stale: AtomicBool::new(false),
        }
    }

    /// Who hears the room now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts a session in; gives back the one that the same sender had.
    ///
    /// Packets see it after the next [`publish`](Self::publish).
    pub fn insert(&self, session: Arc<SessionInfo>) -> Option<Arc<SessionInfo>> {
        self.members().insert(session.sender, session)
    }

    /// Takes the sender's session out.
    pub fn remove(&self, sender: u16) -> Option<Arc<SessionInfo>> {
        self.members().remove(&sender)
    }

    /// Takes `session` out, unless its sender has another by now. True when it was in.
    pub fn remove_session(&self, session: &SessionInfo) -> bool {
        let mut members = self.members();
        let is_in = members
            .get(&session.sender)
            .is_some_and(|member| member.id == session.id);
        if is_in {
            members.remove(&session.sender);
        }
        is_in
    }

    /// Takes everyone out.
    pub fn clear(&self) -> Vec<Arc<SessionInfo>> {
        std::mem::take(&mut *self.members()).into_values().collect()
    }

    /// The sender's session.
    pub fn member(&self, sender: u16) -> Option<Arc<SessionInfo>> {
        self.members().get(&sender).cloned()
    }

    /// True when nobody is in.
    pub fn is_empty(&self) -> bool {
        self.members().is_empty()
    }

    /// Marks the snapshot as stale. True when it was not yet: the caller then sees to it that it is published.
    pub fn mark_stale(&self) -> bool {
        !self.stale.swap(true, Ordering::AcqRel)
    }

    /// Takes a new snapshot of the members. Off the packet path: it costs time in proportion to the room.
    pub fn publish(&self) {
        // First the mark, then the members: what changes in between marks the room again.
        self.stale.store(false, Ordering::Release);
        let receivers = self
            .members()
            .values()
            .map(|session| session.id.slot())
            .collect();
        self.snapshot.store(Arc::new(Snapshot { receivers }));
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<u16, Arc<SessionInfo>>> {
        // A panic elsewhere left the map whole: each change to it is one call.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
