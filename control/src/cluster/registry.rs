//! The relays that this node knows, by name.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use confab_protocol::cluster::{Action, BootId, CommandOutcome, CommandResult, Fence};
use confab_protocol::control::{ConferenceId, framing};
use confab_protocol::version::{self, VersionRange};
use confab_protocol::wire;
use tokio::sync::{Notify, mpsc};

use super::events::{RelayEvent, Response};
use super::leftovers::Moderated;
use super::placement::{self, Candidate, RelayWish, Wish};
use super::relay::{LinkedRelay, Relay, RelayInfo, TooMuch};
use super::status::RelayStatus;
use crate::domain::{NodeName, RelayName};
use crate::inbox::Inbox;
use crate::random;

/// Relays have linked to a node that has just started after this time.
const LINKING: Duration = Duration::from_secs(5);
/// Time between two looks for a relay meanwhile.
const LINKING_LOOK: Duration = Duration::from_millis(20);

/// All relays that this node knows. Clones share them.
#[derive(Clone)]
pub struct Relays {
    relays: Arc<Mutex<HashMap<RelayName, Relay>>>,
    moderated: Arc<Mutex<Moderated>>,
    /// Commands that a relay did not obey because of their era or placement.
    fenced: Arc<AtomicU64>,
    /// When this node began to take links.
    started: Instant,
}

impl Default for Relays {
    fn default() -> Self {
        Self {
            relays: Arc::default(),
            moderated: Arc::default(),
            fenced: Arc::default(),
            started: Instant::now(),
        }
    }
}

/// The link of a relay. The relay is unlinked when this is dropped.
pub struct Linked {
    relays: Weak<Mutex<HashMap<RelayName, Relay>>>,
    fenced: Arc<AtomicU64>,
    name: RelayName,
    serial: u64,
    close: Arc<Notify>,
}

impl Relays {
    // ---- Links

    /// Enters the link of a relay; an older link of the same name is closed.
    ///
    /// # Errors
    ///
    /// When the relay links too often: its rooms look each time whether it lives.
    pub fn link(
        &self,
        name: RelayName,
        info: RelayInfo,
        out: mpsc::Sender<bytes::Bytes>,
    ) -> Result<Linked, TooMuch> {
        let close = Arc::new(Notify::new());
        let mut relays = self.lock();
        let relay = relays
            .entry(name.clone())
            .or_insert_with(|| Relay::new(name.clone(), info.clone()));
        let serial = relay.link(info, out, close.clone())?;
        Ok(Linked {
            relays: Arc::downgrade(&self.relays),
            fenced: self.fenced.clone(),
            name,
            serial,
            close,
        })
    }

    /// The number of linked relays.
    pub fn linked(&self) -> usize {
        let relays = self.lock();
        relays.values().filter(|relay| relay.is_linked()).count()
    }

    /// Whether the relay is linked, whichever boot of it.
    pub fn is_linked(&self, name: &RelayName) -> bool {
        self.lock().get(name).is_some_and(Relay::is_linked)
    }

    /// That boot of the relay, if it is linked.
    pub fn linked_at(&self, name: &RelayName, boot: BootId) -> Option<LinkedRelay> {
        let relays = self.lock();
        let relay = relays.get(name)?;
        let is_it = relay.is_linked() && relay.info().boot == boot;
        is_it.then(|| relay.linked_relay())
    }

    /// That boot of the relay, once it is linked: a node that has just started is waited for by its relays, not long.
    pub async fn linked_soon(&self, name: &RelayName, boot: BootId) -> Option<LinkedRelay> {
        loop {
            let found = self.linked_at(name, boot);
            if found.is_some() || self.started.elapsed() >= LINKING || self.is_linked(name) {
                return found;
            }
            tokio::time::sleep(LINKING_LOOK).await;
        }
    }

    /// Has the rooms of a relay that is not let in any more go elsewhere, unless another of its name is linked.
    pub fn give_up(&self, name: &RelayName) {
        if let Some(relay) = self.lock().get_mut(name)
            && !relay.is_linked()
        {
            relay.give_rooms_up();
        }
    }

    /// The idle timeout of that boot of a relay, if it has ever been linked.
    pub fn idle_timeout(&self, name: &RelayName, boot: BootId) -> Option<Duration> {
        let relays = self.lock();
        let info = relays.get(name)?.info();
        (info.boot == boot).then_some(info.idle_timeout)
    }

    /// The state of the linked relays, by name, as the node `me` knows them.
    pub fn status(&self, me: &NodeName) -> Vec<RelayStatus> {
        let relays = self.lock();
        let linked = relays.iter().filter(|(_, relay)| relay.is_linked());
        let status = linked.map(|(name, relay)| RelayStatus {
            name: name.clone(),
            region: relay.info().region.clone(),
            addresses: relay.info().addresses.clone(),
            max_sessions: relay.info().max_sessions,
            load: relay.reported(),
            nodes: vec![me.clone()],
        });
        let mut all: Vec<_> = status.collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// Tells the relay to drain; false if it is not linked.
    pub fn drain(&self, relay: &RelayName) -> bool {
        let kind = wire::control_to_relay::Kind::Drain(wire::Drain {});
        let bytes = framing::encode(&wire::ControlToRelay { kind: Some(kind) });
        let mut relays = self.lock();
        let relay = relays.get_mut(relay);
        relay.is_some_and(|relay| relay.send_message(bytes))
    }

    // ---- Placement

    /// A relay with room for one more session that speaks the version of media, as [`placement`] chooses: of the region if one
    /// there has room, one that opened no session lately or the one to avoid only when there is no other.
    pub fn pick(&self, wish: &RelayWish<'_>) -> Option<LinkedRelay> {
        let (relays, now) = (self.lock(), Instant::now());
        let candidates = relays
            .iter()
            .filter(|(_, relay)| relay.takes_rooms(wish.media_version))
            .filter(|(_, relay)| !wish.of_all || relay.would_take(wish, now))
            .map(|(name, relay)| Candidate {
                id: name,
                region: relay.info().region.as_ref(),
                load: relay.load(),
                refuses: relay.refuses(now),
            });
        let wish = Wish {
            region: wish.region.map(Some),
            avoid: wish.avoid,
        };
        let name = placement::choose(candidates, &wish, random::below)?;
        relays.get(name).map(Relay::linked_relay)
    }

    /// A relay for a room: the run of a relay that its home names, or else as [`pick`](Self::pick) chooses. What relays say
    /// that they have draws no room to them.
    pub fn pick_for(&self, wish: &RelayWish<'_>) -> Option<LinkedRelay> {
        let named = wish.prefer.filter(|place| Some(&place.relay) != wish.avoid);
        let still_there = named.and_then(|place| {
            let relays = self.lock();
            let relay = relays.get(&place.relay)?;
            let is_it = relay.info().boot == place.boot && relay.would_take(wish, Instant::now());
            is_it.then(|| relay.linked_relay())
        });
        still_there.or_else(|| self.pick(wish))
    }

    /// The highest version of media datagrams that this node, a linked relay and a client that speaks `theirs` have in common.
    /// While no relay is linked, that this node and the client have.
    pub fn media_version(&self, theirs: VersionRange) -> Option<u32> {
        let ours = version::MEDIA.common(theirs)?;
        let relays = self.lock();
        let mut linked = relays.values().filter(|relay| relay.is_linked());
        match linked.next() {
            None => Some(ours.max()),
            Some(first) => std::iter::once(first)
                .chain(linked)
                .filter_map(|relay| relay.info().media.common(ours))
                .map(VersionRange::max)
                .max(),
        }
    }

    /// That boot of the relay did not answer in time when it was asked to open a session.
    pub fn note_unanswered(&self, relay: &LinkedRelay) {
        if let Some(known) = self.lock().get_mut(&relay.name)
            && known.info().boot == relay.boot
        {
            known.open_failed(None);
        }
    }

    // ---- Rooms

    /// Tells the room of the relay from now on. False if that boot of the relay is not known any more.
    pub fn settle(
        &self,
        relay: &LinkedRelay,
        conference: ConferenceId,
        room: Inbox<RelayEvent>,
    ) -> bool {
        match self.lock().get_mut(&relay.name) {
            Some(known) if known.info().boot == relay.boot => {
                known.add_room(conference, room);
                true
            }
            _ => false,
        }
    }

    /// Tells the room nothing more of the relay.
    pub fn leave(&self, relay: &LinkedRelay, conference: ConferenceId) {
        if let Some(known) = self.lock().get_mut(&relay.name) {
            known.remove_room(conference);
        }
    }

    /// Sends a command. The room gets the result under its own number of the command.
    pub fn command(
        &self,
        relay: &RelayName,
        conference: ConferenceId,
        (command, room): (u64, Inbox<RelayEvent>),
        (fence, boot): (Fence, BootId),
        action: Action,
    ) {
        let mut relays = self.lock();
        let sent = relays
            .get_mut(relay)
            .is_some_and(|relay| relay.send(conference, (command, &room), (fence, boot), action));
        if !sent {
            let response = Response::NoLink;
            room.send(RelayEvent::CommandDone { command, response });
        }
    }

    /// The number of commands that were not obeyed because of their era or placement.
    pub fn fenced(&self) -> u64 {
        self.fenced.load(Ordering::Relaxed)
    }

    // ---- Leftovers

    /// The leftovers of the conference are closed as soon as they are seen from now on.
    pub fn note_moderated(&self, conference: ConferenceId) {
        self.moderated().note(Instant::now(), conference);
    }

    /// The room was at this boot of the relay: its sessions there are left over.
    pub fn note_left(&self, conference: ConferenceId, relay: &RelayName, boot: BootId) {
        if let Some(relay) = self.lock().get_mut(relay)
            && relay.info().boot == boot
            && !relay.has_room(conference)
        {
            relay.leftovers_mut().add(conference);
        }
    }

    /// The room with this inbox has ended without closing its sessions: they are left over.
    pub fn lose_room(&self, conference: ConferenceId, room: &Inbox<RelayEvent>) {
        for relay in self.lock().values_mut() {
            relay.lose_room(conference, room);
        }
    }

    /// The linked relays with leftovers of the conference, and since when each has them.
    pub fn leftovers_of(&self, conference: ConferenceId) -> Vec<(LinkedRelay, Instant)> {
        let relays = self.lock();
        let linked = relays.values().filter(|relay| relay.is_linked());
        let with_leftovers = linked.filter_map(|relay| {
            let since = relay.leftovers().since(conference)?;
            Some((relay.linked_relay(), since))
        });
        with_leftovers.collect()
    }

    /// Some leftovers of each linked relay that are to be closed now; those of moderated conferences first.
    pub fn due_leftovers(&self, now: Instant) -> Vec<(LinkedRelay, ConferenceId)> {
        let (mut first, mut others) = (Vec::new(), Vec::new());
        let mut relays = self.lock();
        let moderated = self.moderated();
        for relay in relays.values_mut().filter(|relay| relay.is_linked()) {
            let [urgent, due] = relay.leftovers_mut().take_due(now, &moderated);
            let linked = relay.linked_relay();
            let of_it = |conference| (linked.clone(), conference);
            first.extend(urgent.into_iter().map(of_it));
            others.extend(due.into_iter().map(of_it));
        }
        first.append(&mut others);
        first
    }

    /// The relay has closed the leftover of the conference.
    pub fn leftover_closed(&self, relay: &LinkedRelay, conference: ConferenceId) {
        if let Some(known) = self.lock().get_mut(&relay.name) {
            known.leftovers_mut().remove(conference);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RelayName, Relay>> {
        self.relays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moderated(&self) -> MutexGuard<'_, Moderated> {
        self.moderated
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Linked {
    /// Resolves when the link is to be closed: another has taken its place, or its queue is full.
    pub async fn closed(&self) {
        self.close.notified().await;
    }

    /// Hands a command's result to its room.
    pub fn result(&self, result: CommandResult) {
        if result.outcome == CommandOutcome::Fenced {
            self.fenced.fetch_add(1, Ordering::Relaxed);
        }
        self.with(|relay| relay.answered(result));
    }

    /// Hands an event to the room of a conference that is on this relay.
    ///
    /// # Errors
    ///
    /// When the room has not taken in what it was told before. Where a relay is linked again, its rooms ask it what they missed.
    pub fn tell(&self, conference: ConferenceId, event: RelayEvent) -> Result<(), TooMuch> {
        let told = self.with(|relay| relay.tell_room(conference, event));
        told.unwrap_or(Ok(()))
    }

    /// Takes a load report, as far as it can be true. A relay that drains does so until it ends.
    pub fn report(&self, load: &wire::RelayLoad) {
        self.with(|relay| relay.report(load));
    }

    /// Nothing has come over the link for a while: the relay's rooms look whether it lives.
    pub fn silent(&self) {
        self.with(Relay::fall_silent);
    }

    /// Something comes over the link again.
    pub fn heard(&self) {
        self.with(Relay::speak_again);
    }

    /// The relay has these rooms.
    ///
    /// # Errors
    ///
    /// When it has said so of more than a relay has.
    pub fn live_rooms(&self, conferences: &[ConferenceId]) -> Result<(), TooMuch> {
        let told = self.with(|relay| {
            for conference in conferences {
                if relay.has_room(*conference) {
                    continue;
                }
                if relay.leftovers().is_full() {
                    return Err(TooMuch::Rooms);
                }
                relay.leftovers_mut().add(*conference);
            }
            Ok(())
        });
        told.unwrap_or(Ok(()))
    }

    /// `None` when another link has taken this one's place.
    fn with<T>(&self, act: impl FnOnce(&mut Relay) -> T) -> Option<T> {
        let relays = self.relays.upgrade()?;
        let mut relays = relays.lock().unwrap_or_else(PoisonError::into_inner);
        let relay = relays.get_mut(&self.name)?;
        relay.has_link(self.serial).then(|| act(relay))
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        self.with(Relay::unlink);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use confab_protocol::control::Region;
    use confab_protocol::media::ConnectionId;

    use super::*;
    use crate::cluster::COMMAND_DEADLINE;

    /// A relay that is linked while both of these are kept.
    fn link(relays: &Relays, name: &str, region: &str) -> (Linked, mpsc::Receiver<bytes::Bytes>) {
        let (out, queue) = mpsc::channel(1);
        let name = name.parse().expect("a name");
        let linked = relays.link(name, info(region), out);
        (linked.expect("it links for the first time"), queue)
    }

    fn info(region: &str) -> RelayInfo {
        RelayInfo {
            boot: BootId([1; 16]),
            region: region.parse().ok(),
            addresses: vec![SocketAddr::from(([192, 0, 2, 1], 4434))],
            max_sessions: 10,
            media: version::MEDIA,
            idle_timeout: Duration::from_secs(30),
        }
    }

    fn picked(relays: &Relays, region: Option<&str>, avoid: Option<&str>) -> Option<String> {
        let avoid = avoid.map(|name| name.parse().expect("a name"));
        let region: Option<Region> = region.map(|name| name.parse().expect("a region"));
        let relay = relays.pick(&RelayWish {
            media_version: version::MEDIA.max(),
            region: region.as_ref(),
            prefer: None,
            avoid: avoid.as_ref(),
            sessions: 1,
            of_all: false,
        })?;
        Some(relay.name.as_str().to_owned())
    }

    #[test]
    fn a_relay_is_picked_by_its_region_and_its_reports() {
        let relays = Relays::default();
        assert_eq!(picked(&relays, None, None), None);
        let (east, _east_queue) = link(&relays, "east", "east");
        let (west, _west_queue) = link(&relays, "west", "west");
        let is = |region, avoid, name: &str| {
            assert_eq!(picked(&relays, region, avoid).as_deref(), Some(name));
        };
        is(Some("east"), None, "east");
        is(Some("west"), None, "west");
        is(Some("east"), Some("east"), "west");
        let busy = wire::RelayLoad {
            busy_percent: 50,
            ..wire::RelayLoad::default()
        };
        east.report(&busy);
        is(None, None, "west");
        is(Some("east"), None, "east");
        let draining = wire::RelayLoad {
            draining: true,
            ..wire::RelayLoad::default()
        };
        west.report(&draining);
        is(Some("west"), None, "east");
        let full = wire::RelayLoad {
            sessions: 10,
            ..wire::RelayLoad::default()
        };
        east.report(&full);
        assert_eq!(picked(&relays, None, None), None);
    }

    fn result(outcome: CommandOutcome, connection_id: Option<ConnectionId>) -> CommandResult {
        CommandResult {
            connection_id,
            ..CommandResult::bare(0, outcome)
        }
    }

    /// The relay has answered an open with this.
    fn answer(linked: &Linked, result: &CommandResult, after: Duration) {
        linked.with(|relay| relay.answered_open(result, after));
    }

    #[test]
    fn a_relay_that_opens_no_session_gets_no_further_room_while_there_is_another() {
        let relays = Relays::default();
        let (east, _east_queue) = link(&relays, "east", "east");
        let (_west, _west_queue) = link(&relays, "west", "west");
        let is = |name: &str| {
            let picked = picked(&relays, Some("east"), None);
            assert_eq!(picked.as_deref(), Some(name));
        };
        let id = Some(ConnectionId::new(0, 1, 1));
        let opened = result(CommandOutcome::Obeyed, id);
        for refusal in [
            result(CommandOutcome::Full, None),
            result(CommandOutcome::Invalid, None),
            result(CommandOutcome::NotFound, None),
            result(CommandOutcome::Fenced, None),
            result(CommandOutcome::Obeyed, None),
        ] {
            is("east");
            answer(&east, &refusal, Duration::ZERO);
            is("west");
            answer(&east, &opened, COMMAND_DEADLINE);
            is("west");
            answer(&east, &opened, Duration::ZERO);
        }
        is("east");
        let relay = relays.linked_at(&east.name, BootId([1; 16])).unwrap();
        relays.note_unanswered(&relay);
        is("west");
    }

    #[test]
    fn relays_that_all_open_no_session_are_still_tried() {
        let relays = Relays::default();
        let (east, _east_queue) = link(&relays, "east", "east");
        answer(&east, &result(CommandOutcome::Full, None), Duration::ZERO);
        assert_eq!(picked(&relays, None, None).as_deref(), Some("east"));
        let all = RelayWish {
            media_version: version::MEDIA.max(),
            region: None,
            prefer: None,
            avoid: None,
            sessions: 1,
            of_all: true,
        };
        assert_eq!(relays.pick(&all), None);
        // Another run of it has refused nothing.
        drop(east);
        let info = RelayInfo {
            boot: BootId([2; 16]),
            ..info("east")
        };
        let (out, _queue) = mpsc::channel(1);
        let _linked = relays.link("east".parse().unwrap(), info, out).unwrap();
        assert!(relays.pick(&all).is_some());
        let too_many = RelayWish {
            sessions: 11,
            ..all
        };
        assert_eq!(relays.pick(&too_many), None);
    }
}
