//! Rooms that a relay still has and that no room of this node knows of: left over when a node died, or when the relay was
//! out of reach for so long that its rooms went elsewhere.
//!
//! Their people come back by themselves in a moment and talk on meanwhile, so such a room is given some time. But a ban, a
//! kick or the like must hold at once: a conference that is moderated loses what is left over of it.

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use confab_protocol::cluster::BootId;
use confab_protocol::control::ConferenceId;

use super::RelayName;
use super::registry::{Linked, LinkedRelay, Relays};
use crate::rooms::state::RelayWish;

/// A leftover room is closed after this time: longer than a client takes to notice and to come back.
const GRACE: Duration = Duration::from_secs(20);
/// A node that has just started knows after this time which relays there are.
const GATHERING: Duration = Duration::from_secs(5);
/// Time between two looks meanwhile.
const GATHERING_LOOK: Duration = Duration::from_millis(20);
/// Moderated conferences that are remembered, in case that a relay comes with leftovers of one.
const MAX_MODERATED: usize = 100_000;

/// Conferences that were moderated while this node runs.
#[derive(Default)]
pub(super) struct Moderated {
    conferences: HashSet<ConferenceId>,
    /// True when there were more than are remembered: then every leftover might be of one.
    overflowed: bool,
}

impl Relays {
    /// From now on what is left over of the conference is closed as soon as it is seen.
    pub fn note_moderated(&self, conference: ConferenceId) {
        let mut moderated = self.moderated();
        if moderated.conferences.len() < MAX_MODERATED {
            moderated.conferences.insert(conference);
        } else {
            moderated.overflowed = true;
        }
    }

    /// The room was at this boot of the relay: what is there is left over now.
    pub fn note_left(&self, conference: ConferenceId, relay: &RelayName, boot: BootId) {
        if let Some(relay) = self.lock().get_mut(relay)
            && relay.info.boot == boot
            && !relay.rooms.contains_key(&conference)
        {
            relay
                .leftovers
                .entry(conference)
                .or_insert_with(Instant::now);
        }
    }

    /// That boot of the relay, if it is linked.
    pub fn linked_at(&self, name: &RelayName, boot: BootId) -> Option<LinkedRelay> {
        let relays = self.lock();
        let relay = relays.get(name)?;
        let is_it = relay.link.is_some() && relay.info.boot == boot;
        is_it.then(|| relay.linked_as(name))
    }

    /// That boot of the relay, once it is linked: a node that has just started is waited for by its relays, not long.
    pub async fn linked_soon(&self, name: &RelayName, boot: BootId) -> Option<LinkedRelay> {
        loop {
            let found = self.linked_at(name, boot);
            if found.is_some() || self.started.elapsed() >= GATHERING || self.is_linked(name) {
                return found;
            }
            tokio::time::sleep(GATHERING_LOOK).await;
        }
    }

    /// Whether the relay is linked, whichever boot of it.
    pub fn is_linked(&self, name: &RelayName) -> bool {
        let relays = self.lock();
        relays.get(name).is_some_and(|relay| relay.link.is_some())
    }

    /// Linked relays with leftovers of the conference.
    pub fn leftovers_of(&self, conference: ConferenceId) -> Vec<LinkedRelay> {
        let relays = self.lock();
        let has_some = relays
            .iter()
            .filter(|(_, relay)| relay.link.is_some() && relay.leftovers.contains_key(&conference));
        has_some
            .map(|(name, relay)| relay.linked_as(name))
            .collect()
    }

    /// Leftovers whose time is over; those that have to go at once are first.
    pub fn due_leftovers(&self, now: Instant) -> Vec<(LinkedRelay, ConferenceId)> {
        let (mut first, mut due) = (Vec::new(), Vec::new());
        let relays = self.lock();
        let moderated = self.moderated();
        for (name, relay) in relays.iter().filter(|(_, relay)| relay.link.is_some()) {
            for (conference, since) in &relay.leftovers {
                let is_old = now.saturating_duration_since(*since) >= GRACE;
                if moderated.overflowed || moderated.conferences.contains(conference) {
                    first.push((relay.linked_as(name), *conference));
                } else if is_old {
                    due.push((relay.linked_as(name), *conference));
                }
            }
        }
        first.append(&mut due);
        first
    }

    /// The relay has closed what was left over of the conference.
    pub fn leftover_closed(&self, relay: &LinkedRelay, conference: ConferenceId) {
        if let Some(known) = self.lock().get_mut(&relay.name) {
            known.leftovers.remove(&conference);
        }
    }

    /// A relay for the conference's room: the preferred one or one that still has it, or else as [`pick`](Self::pick) chooses.
    pub fn pick_for(&self, conference: ConferenceId, wish: &RelayWish<'_>) -> Option<LinkedRelay> {
        let still_has_it = {
            let relays = self.lock();
            relays
                .iter()
                .find(|(name, relay)| {
                    Some(*name) != wish.avoid
                        && relay.has_room(wish.media_version)
                        && (Some(*name) == wish.prefer || relay.leftovers.contains_key(&conference))
                })
                .map(|(name, relay)| relay.linked_as(name))
        };
        still_has_it.or_else(|| self.pick(wish))
    }

    fn moderated(&self) -> MutexGuard<'_, Moderated> {
        self.moderated
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Linked {
    /// The relay has these rooms.
    pub fn live_rooms(&self, conferences: &[ConferenceId]) {
        self.with(|relay| {
            for conference in conferences {
                if !relay.rooms.contains_key(conference) {
                    relay
                        .leftovers
                        .entry(*conference)
                        .or_insert_with(Instant::now);
                }
            }
        });
    }
}
