//! Rooms: the members, and the snapshot of the receivers that packets read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use confab_protocol::cluster::{GrantedLeaf, Leaves, MediaState};
use confab_protocol::control::ConferenceId;

use super::leaves::RoomLeaves;
use super::loss::RoomLoss;
use super::session::{SessionInfo, SessionSlot};

/// A room that is live at this relay.
pub struct Room {
    /// The conference's id.
    pub id: ConferenceId,
    /// The worker that chooses its loudest and bundles its frames. A large room has sessions on others too.
    pub home: u8,
    members: Mutex<Members>,
    snapshot: ArcSwap<Snapshot>,
    /// True while the members have changed since the snapshot was taken.
    stale: AtomicBool,
    /// What its receivers lose.
    pub(super) loss: RoomLoss,
}

/// The receivers of a room at the last publication. Packets read it; a publication replaces it.
#[derive(Default)]
pub struct Snapshot {
    shares: Box<[Share]>,
}

/// The receivers of one worker.
pub struct Share {
    /// The worker that sends to them.
    pub worker: u8,
    /// Their slots there.
    pub receivers: Box<[u32]>,
}

/// The members, by sender label and by worker.
#[derive(Default)]
struct Members {
    by_sender: BTreeMap<u16, Member>,
    /// In the order in which the workers got their first member. A share stays when its last member leaves.
    shares: Vec<MemberShare>,
    leaves: RoomLeaves<SessionInfo>,
}

struct Member {
    session: Arc<SessionInfo>,
    /// Index in its share.
    at: u32,
}

struct MemberShare {
    worker: u8,
    /// Slot and label of each.
    members: Vec<(u32, u16)>,
}

impl Room {
    /// An empty room whose home is worker `home`.
    pub fn new(id: ConferenceId, home: u8) -> Self {
        Self {
            id,
            home,
            members: Mutex::default(),
            snapshot: ArcSwap::default(),
            stale: AtomicBool::new(false),
            loss: RoomLoss::default(),
        }
    }

    /// The current receivers.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Adds a session, which gets these leaves. Returns the one that the same sender had before.
    ///
    /// Packets see it after the next [`publish`](Self::publish).
    pub fn insert(
        &self,
        now: Instant,
        session: Arc<SessionInfo>,
        leaves: Leaves,
    ) -> Option<Arc<SessionInfo>> {
        let mut members = self.members();
        let before = members.remove(session.sender);
        for granted in leaves.iter() {
            members.leaves.grant(now, Some(&session), granted);
        }
        members.insert(session);
        before
    }

    /// Gives these senders a leaf more; those without a session get none. Takes effect with the next datagram.
    pub fn grant_leaves(&self, now: Instant, granted: &[(u16, GrantedLeaf)]) {
        let members = &mut *self.members();
        for (sender, granted) in granted {
            let member = members.by_sender.get(sender);
            let session = member.map(|member| &member.session);
            members.leaves.grant(now, session, *granted);
        }
    }

    /// Frames of this generation up to this epoch are dropped, and those of earlier generations. Takes effect with the next
    /// datagram.
    pub fn retire_epochs(&self, generation: u64, epoch: u64) {
        self.members().leaves.retire(generation, epoch);
    }

    /// Removes the sender's session.
    pub fn remove(&self, sender: u16) -> Option<Arc<SessionInfo>> {
        self.members().remove(sender)
    }

    /// Removes `session`, unless its sender has another one by now. True if it was a member.
    pub fn remove_session(&self, session: &SessionInfo) -> bool {
        let mut members = self.members();
        let known = members.by_sender.get(&session.sender);
        let is_in = known.is_some_and(|member| member.session.id == session.id);
        if is_in {
            members.remove(session.sender);
        }
        is_in
    }

    /// Removes all sessions.
    pub fn clear(&self) -> Vec<Arc<SessionInfo>> {
        let members = std::mem::take(&mut *self.members());
        let sessions = members.by_sender.into_values();
        sessions.map(|member| member.session).collect()
    }

    /// The sender's session.
    pub fn member(&self, sender: u16) -> Option<Arc<SessionInfo>> {
        let members = self.members();
        let member = members.by_sender.get(&sender)?;
        Some(Arc::clone(&member.session))
    }

    /// The sessions from sender `from` on, `most` at most, in the order of their senders; and true if there are more.
    pub fn list(&self, now: Instant, from: u16, most: usize) -> (Vec<MediaState>, bool) {
        let members = self.members();
        let mut sessions = members.by_sender.range(from..);
        let listed = sessions.by_ref().take(most);
        let states = listed
            .map(|(_, member)| member.session.state(now))
            .collect();
        (states, sessions.next().is_some())
    }

    /// Count of members.
    pub fn len(&self) -> usize {
        self.members().by_sender.len()
    }

    /// True if there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first worker of the room that has fewer than `share` of its sessions. `None` if there is none.
    pub fn worker_with_room(&self, share: usize) -> Option<u8> {
        let members = self.members();
        let mut shares = members.shares.iter();
        let free = shares.find(|of_worker| of_worker.members.len() < share);
        free.map(|of_worker| of_worker.worker)
    }

    /// Count of its sessions at a worker.
    pub fn len_at(&self, worker: u8) -> usize {
        let members = self.members();
        let of_worker = members.shares.iter().find(|share| share.worker == worker);
        of_worker.map_or(0, |share| share.members.len())
    }

    /// Marks the snapshot as stale. True if it was not stale before: the caller then has to have it published.
    pub fn mark_stale(&self) -> bool {
        !self.stale.swap(true, Ordering::AcqRel)
    }

    /// Takes a new snapshot of the members. Off the packet path: it costs time in proportion to the room.
    pub fn publish(&self) {
        // The mark before the members: a change in between marks the room again.
        self.stale.store(false, Ordering::Release);
        let snapshot = self.members().snapshot();
        self.snapshot.store(Arc::new(snapshot));
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        // Nothing that is done under the lock can panic half way.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot {
    /// The receivers of each worker that has some.
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// True if no worker but this one has receivers.
    pub fn is_only_at(&self, worker: u8) -> bool {
        self.shares.iter().all(|share| share.worker == worker)
    }
}

impl Members {
    fn insert(&mut self, session: Arc<SessionInfo>) {
        let slot = SessionSlot::from(session.id);
        let known = self
            .shares
            .iter()
            .position(|share| share.worker == slot.worker);
        let share = known.unwrap_or_else(|| {
            self.shares.push(MemberShare {
                worker: slot.worker,
                members: Vec::new(),
            });
            self.shares.len() - 1
        });
        let share = &mut self.shares[share].members;
        let at = share.len() as u32;
        share.push((slot.slot, session.sender));
        self.by_sender
            .insert(session.sender, Member { session, at });
    }

    fn remove(&mut self, sender: u16) -> Option<Arc<SessionInfo>> {
        let Member { session, at } = self.by_sender.remove(&sender)?;
        self.leaves.release(&session);
        let worker = session.id.worker();
        if let Some(share) = self.shares.iter_mut().find(|share| share.worker == worker) {
            if (at as usize) < share.members.len() {
                share.members.swap_remove(at as usize);
            }
            if let Some((_, moved)) = share.members.get(at as usize)
                && let Some(moved) = self.by_sender.get_mut(moved)
            {
                moved.at = at;
            }
        }
        Some(session)
    }

    fn snapshot(&self) -> Snapshot {
        let with_members = self.shares.iter().filter(|share| !share.members.is_empty());
        let shares = with_members.map(|share| Share {
            worker: share.worker,
            receivers: share.members.iter().map(|(slot, _)| *slot).collect(),
        });
        Snapshot {
            shares: shares.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use confab_protocol::cluster::OpenMedia;
    use confab_protocol::media::{ConnectionId, HopKey};

    use super::*;

    fn session(room: &Arc<Room>, worker: u8, slot: u32, sender: u16) -> Arc<SessionInfo> {
        let open = OpenMedia::new(sender, 0, HopKey::new([1; 16]), HopKey::new([2; 16]));
        let id = ConnectionId::new(worker, slot, 7);
        Arc::new(SessionInfo::new(id, Arc::clone(room), &open))
    }

    fn insert(room: &Room, session: Arc<SessionInfo>) -> Option<Arc<SessionInfo>> {
        room.insert(Instant::now(), session, Leaves::NONE)
    }

    /// What the snapshot holds, in an order of its own.
    fn receivers(room: &Room) -> Vec<(u8, Vec<u32>)> {
        room.publish();
        let snapshot = room.snapshot();
        let sorted = snapshot.shares().iter().map(|share| {
            let mut slots = share.receivers.to_vec();
            slots.sort_unstable();
            (share.worker, slots)
        });
        sorted.collect()
    }

    #[test]
    fn the_snapshot_has_the_members_by_worker() {
        let room = Arc::new(Room::new(ConferenceId::new([1; 16]), 0));
        for n in 0..6 {
            let session = session(&room, n as u8 % 2, n, n as u16);
            assert!(insert(&room, session).is_none());
        }
        assert_eq!(receivers(&room), [(0, vec![0, 2, 4]), (1, vec![1, 3, 5])]);
        assert!(room.remove(0).is_some());
        assert!(room.remove(4).is_some());
        assert!(room.remove(4).is_none());
        assert_eq!(receivers(&room), [(0, vec![2]), (1, vec![1, 3, 5])]);
        assert!(!room.snapshot().is_only_at(1));
        assert!(room.remove(2).is_some());
        assert_eq!(receivers(&room), [(1, vec![1, 3, 5])]);
        assert!(room.snapshot().is_only_at(1));
        assert_eq!((room.len(), room.len_at(0), room.len_at(1)), (3, 0, 3));
    }

    #[test]
    fn a_senders_new_session_replaces_its_former_one() {
        let room = Arc::new(Room::new(ConferenceId::new([1; 16]), 0));
        let first = session(&room, 0, 1, 9);
        insert(&room, Arc::clone(&first));
        let before = insert(&room, session(&room, 1, 2, 9)).expect("the first");
        assert_eq!(before.id, first.id);
        assert!(!room.remove_session(&first), "the second stays");
        assert_eq!(receivers(&room), [(1, vec![2])]);
    }

    #[test]
    fn a_worker_takes_its_share_before_the_next_does() {
        let room = Arc::new(Room::new(ConferenceId::new([1; 16]), 0));
        assert_eq!(room.worker_with_room(2), None);
        insert(&room, session(&room, 0, 0, 0));
        assert_eq!(room.worker_with_room(2), Some(0));
        insert(&room, session(&room, 0, 1, 1));
        assert_eq!(room.worker_with_room(2), None);
        insert(&room, session(&room, 1, 0, 2));
        assert_eq!(room.worker_with_room(2), Some(1));
        room.remove(0);
        assert_eq!(room.worker_with_room(2), Some(0));
    }
}
