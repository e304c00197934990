//! State that the actors of all rooms share: the services that they use, the rooms by conference, and the rooms by account.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex};

use confab_protocol::control::{AccountId, ConferenceId};
use tokio::sync::mpsc;

use super::ask::Ask;
use super::effect::Input;
use super::group_keys::GroupKeys;
use super::guests::EndedGuests;
use super::note::NoteKeys;
use crate::clock::Clock;
use crate::cluster::nodes::Nodes;
use crate::cluster::{RelayEvent, Relays};
use crate::inbox::Inbox;
use crate::metrics::groups::GroupCounters;
use crate::mutex::lock;
use crate::store::Store;
use crate::webhooks::Webhooks;

/// Limits of rooms, set by the operator.
#[derive(Clone, Copy, Debug)]
pub struct RoomLimits {
    /// Participants that a room takes.
    pub max_participants: usize,
    /// Members that a conference takes, bans included.
    pub max_members: u64,
}

/// The shared state.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) relays: Relays,
    pub(super) limits: RoomLimits,
    pub(super) clock: Clock,
    /// This node and the others.
    pub(super) nodes: Nodes,
    pub(super) notes: NoteKeys,
    pub(super) group_keys: GroupKeys,
    pub(super) group_counters: GroupCounters,
    pub(super) webhooks: Webhooks,
    pub(super) guests: EndedGuests,
    pub(super) rooms: Mutex<HashMap<ConferenceId, RoomHandle>>,
    /// The conferences in whose rooms an account is, with the number of its participants and joins.
    pub(super) presence: Mutex<HashMap<AccountId, HashMap<ConferenceId, u32>>>,
    /// Set when no room is started any more.
    pub(super) is_closed: AtomicBool,
}

/// The way to a room's actor.
pub(super) struct RoomHandle {
    pub(super) requests: mpsc::Sender<Ask>,
    pub(super) inbox: Inbox<Input>,
    pub(super) live: Arc<AtomicU32>,
}

/// Forgets a room whose task panics, so that the next request takes it again under a later era. Media goes on meanwhile, and
/// [`Clients`](super::clients::Clients) tells the room's clients to connect again.
pub(super) struct PanicGuard {
    shared: Arc<Shared>,
    conference: ConferenceId,
    inbox: Inbox<Input>,
    relay_events: Inbox<RelayEvent>,
}

impl PanicGuard {
    /// A guard for the room with these inboxes.
    pub(super) fn new(
        shared: Arc<Shared>,
        conference: ConferenceId,
        (inbox, relay_events): (Inbox<Input>, Inbox<RelayEvent>),
    ) -> Self {
        Self {
            shared,
            conference,
            inbox,
            relay_events,
        }
    }
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let of = (&self.inbox, &self.relay_events);
            self.shared.lose(self.conference, of);
        }
    }
}

impl Shared {
    /// Forgets a room whose task has panicked. Its sessions are left over at its relay until the room is taken again.
    fn lose(
        &self,
        conference: ConferenceId,
        (inbox, relay_events): (&Inbox<Input>, &Inbox<RelayEvent>),
    ) {
        tracing::error!(%conference, "a room's task panicked: the room is taken anew by the next request");
        let mut rooms = lock(&self.rooms);
        if rooms
            .get(&conference)
            .is_some_and(|room| room.inbox.is_same(inbox))
        {
            rooms.remove(&conference);
            // Within the lock: a room that starts again counts from zero.
            lock(&self.presence).retain(|_, rooms| {
                rooms.remove(&conference);
                !rooms.is_empty()
            });
            self.relays.lose_room(conference, relay_events);
        }
    }

    /// Forgets the room if no request has come in the meantime.
    pub(super) fn retire(&self, conference: ConferenceId, is_idle: impl FnOnce() -> bool) -> bool {
        let mut rooms = lock(&self.rooms);
        let idle = is_idle();
        if idle {
            rooms.remove(&conference);
        }
        idle
    }

    pub(super) fn present(&self, account: AccountId, conference: ConferenceId) {
        let mut presence = lock(&self.presence);
        *presence
            .entry(account)
            .or_default()
            .entry(conference)
            .or_default() += 1;
    }

    pub(super) fn absent(&self, account: AccountId, conference: ConferenceId) {
        let mut presence = lock(&self.presence);
        let Some(rooms) = presence.get_mut(&account) else {
            return;
        };
        if let Some(count) = rooms.get_mut(&conference) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                rooms.remove(&conference);
            }
        }
        if rooms.is_empty() {
            presence.remove(&account);
        }
    }
}
