//! Rooms that a relay still has and that no room of this node knows of: left over when a node died, or when the relay was
//! out of reach for so long that its rooms went elsewhere.
//!
//! Their people come back by themselves in a moment and talk on meanwhile, so such a room is given some time. But a ban, a
//! kick or the like must hold at once: a conference that is moderated loses what is left over of it.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use confab_protocol::cluster::BootId;
use confab_protocol::control::ConferenceId;

use super::RelayName;
use super::events::RelayEvent;
use super::placement::RelayWish;
use super::registry::{Linked, LinkedRelay, Relays, TooMuch};
use crate::inbox::Inbox;

/// A leftover room is closed after this time: longer than a client takes to notice and to come back.
const GRACE: Duration = Duration::from_secs(20);
/// A node that has just started knows after this time which relays there are.
const GATHERING: Duration = Duration::from_secs(5);
/// Time between two looks meanwhile.
const GATHERING_LOOK: Duration = Duration::from_millis(20);
/// Leftovers of one relay that are known at most; a relay that says that it has more loses its link.
pub const MAX_LEFTOVERS: usize = 262_144;
/// Leftovers of one relay that are closed in one turn, so that one that does not obey holds up no other for long.
const DUE_OF_A_RELAY: usize = 32;
/// A leftover that was not closed is tried again after this time.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// Moderated conferences that are remembered, in case that a relay comes with leftovers of one.
const MAX_MODERATED: usize = 100_000;
/// For so long: no relay keeps a session without a packet for more than two minutes.
const MODERATED_FOR: Duration = Duration::from_secs(60 * 60);
/// Time between two searches for those that need not be remembered any more.
const FORGET_INTERVAL: Duration = Duration::from_secs(60);

/// A room that a relay has and that no room here knows of.
#[derive(Clone, Copy)]
pub(super) struct Leftover {
    since: Instant,
    /// When it was to be closed, the last time.
    tried: Option<Instant>,
}

impl Leftover {
    fn now() -> Self {
        Self {
            since: Instant::now(),
            tried: None,
        }
    }

    fn is_at_rest(&self, now: Instant) -> bool {
        self.tried
            .is_some_and(|at| now.saturating_duration_since(at) < TRY_AGAIN)
    }
}

/// Conferences that were moderated within the last hour.
#[derive(Default)]
pub(super) struct Moderated {
    conferences: HashMap<ConferenceId, Instant>,
    /// When there were more than are remembered, the last time: for as long every leftover might be of one.
    overflowed: Option<Instant>,
    forgot: Option<Instant>,
}

impl Moderated {
    fn note(&mut self, now: Instant, conference: ConferenceId) {
        let is_due = |at: Instant| now.saturating_duration_since(at) >= FORGET_INTERVAL;
        if self.forgot.is_none_or(is_due) {
            self.forgot = Some(now);
            self.conferences.retain(|_, at| is_remembered(now, *at));
        }
        if self.conferences.len() < MAX_MODERATED || self.conferences.contains_key(&conference) {
            self.conferences.insert(conference, now);
        } else {
            self.overflowed = Some(now);
        }
    }

    fn may_hold(&self, now: Instant, conference: ConferenceId) -> bool {
        let noted = self.conferences.get(&conference).copied();
        [noted, self.overflowed]
            .into_iter()
            .flatten()
            .any(|at| is_remembered(now, at))
    }
}

fn is_remembered(now: Instant, at: Instant) -> bool {
    now.saturating_duration_since(at) < MODERATED_FOR
}

impl Relays {
    /// From now on what is left over of the conference is closed as soon as it is seen.
    pub fn note_moderated(&self, conference: ConferenceId) {
        self.moderated().note(Instant::now(), conference);
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
                .or_insert_with(Leftover::now);
        }
    }

    /// The room that heard of its relay by that inbox is no more: what the relay has of it is left over.
    pub fn lose_room(&self, conference: ConferenceId, room: &Inbox<RelayEvent>) {
        for relay in self.lock().values_mut() {
            let is_it = |known: &Inbox<RelayEvent>| known.is_same(room);
            if relay.rooms.get(&conference).is_some_and(is_it) {
                relay.rooms.remove(&conference);
                relay
                    .leftovers
                    .entry(conference)
                    .or_insert_with(Leftover::now);
            }
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

    /// Linked relays with leftovers of the conference, and since when each has them.
    pub fn leftovers_of(&self, conference: ConferenceId) -> Vec<(LinkedRelay, Instant)> {
        let relays = self.lock();
        let linked = relays.iter().filter(|(_, relay)| relay.link.is_some());
        let has_some = linked.filter_map(|(name, relay)| {
            let leftover = relay.leftovers.get(&conference)?;
            Some((relay.linked_as(name), leftover.since))
        });
        has_some.collect()
    }

    /// Leftovers whose time is over, some of each relay; those that have to go at once are first. They are due again after a
    /// while if they are not closed.
    pub fn due_leftovers(&self, now: Instant) -> Vec<(LinkedRelay, ConferenceId)> {
        let (mut first, mut others) = (Vec::new(), Vec::new());
        let mut relays = self.lock();
        let moderated = self.moderated();
        for (name, relay) in relays.iter_mut().filter(|(_, relay)| relay.link.is_some()) {
            let (mut urgent, mut due) = (Vec::new(), Vec::new());
            for (conference, leftover) in &relay.leftovers {
                if leftover.is_at_rest(now) {
                    continue;
                }
                if moderated.may_hold(now, *conference) {
                    urgent.push(*conference);
                } else if now.saturating_duration_since(leftover.since) >= GRACE {
                    due.push(*conference);
                }
            }
            urgent.truncate(DUE_OF_A_RELAY);
            due.truncate(DUE_OF_A_RELAY - urgent.len());
            for conference in urgent.iter().chain(&due) {
                if let Some(leftover) = relay.leftovers.get_mut(conference) {
                    leftover.tried = Some(now);
                }
            }
            let linked = relay.linked_as(name);
            let of_it = |conference| (linked.clone(), conference);
            first.extend(urgent.into_iter().map(of_it));
            others.extend(due.into_iter().map(of_it));
        }
        first.append(&mut others);
        first
    }

    /// The relay has closed what was left over of the conference.
    pub fn leftover_closed(&self, relay: &LinkedRelay, conference: ConferenceId) {
        if let Some(known) = self.lock().get_mut(&relay.name) {
            known.leftovers.remove(&conference);
        }
    }

    /// A relay for a room: the run of a relay that its home names, or else as [`pick`](Self::pick) chooses. What relays say
    /// that they have draws no room to them.
    pub fn pick_for(&self, wish: &RelayWish<'_>) -> Option<LinkedRelay> {
        let named = wish.prefer.filter(|place| Some(&place.relay) != wish.avoid);
        let still_there = named.and_then(|place| {
            let relays = self.lock();
            let relay = relays.get(&place.relay)?;
            let is_it = relay.info.boot == place.boot && relay.would_take(wish, Instant::now());
            is_it.then(|| relay.linked_as(&place.relay))
        });
        still_there.or_else(|| self.pick(wish))
    }

    fn moderated(&self) -> MutexGuard<'_, Moderated> {
        self.moderated
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Linked {
    /// The relay has these rooms.
    ///
    /// # Errors
    ///
    /// When it has said so of more than a relay has.
    pub fn live_rooms(&self, conferences: &[ConferenceId]) -> Result<(), TooMuch> {
        let told = self.with(|relay| {
            for conference in conferences {
                if relay.rooms.contains_key(conference) {
                    continue;
                }
                if relay.leftovers.len() >= MAX_LEFTOVERS {
                    return Err(TooMuch::Rooms);
                }
                relay
                    .leftovers
                    .entry(*conference)
                    .or_insert_with(Leftover::now);
            }
            Ok(())
        });
        told.unwrap_or(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conference(number: usize) -> ConferenceId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        ConferenceId::new(id)
    }

    #[test]
    fn a_moderated_conference_is_remembered_for_an_hour() {
        let (mut moderated, start) = (Moderated::default(), Instant::now());
        moderated.note(start, conference(1));
        assert!(moderated.may_hold(start + MODERATED_FOR / 2, conference(1)));
        assert!(!moderated.may_hold(start, conference(2)));
        assert!(!moderated.may_hold(start + MODERATED_FOR, conference(1)));
    }

    #[test]
    fn too_many_take_the_grace_from_all_leftovers_for_an_hour_and_no_longer() {
        let (mut moderated, start) = (Moderated::default(), Instant::now());
        for number in 0..=MAX_MODERATED {
            moderated.note(start, conference(number));
        }
        assert_eq!(moderated.conferences.len(), MAX_MODERATED);
        assert!(moderated.may_hold(start, conference(usize::MAX)));
        let later = start + MODERATED_FOR;
        assert!(!moderated.may_hold(later, conference(usize::MAX)));
        moderated.note(later, conference(7));
        assert_eq!(moderated.conferences.len(), 1, "the old ones are forgotten");
        assert!(moderated.may_hold(later, conference(7)));
        assert!(!moderated.may_hold(later, conference(8)));
    }
}
