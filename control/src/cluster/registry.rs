//! The relays known to this node, by name.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use confab_protocol::cluster::{Action, BootId, CommandOutcome, CommandResult, Fence};
use confab_protocol::control::{ConferenceId, framing};
use confab_protocol::version::{self, VersionRange};
use confab_protocol::wire;
use tokio::sync::{Notify, mpsc};

use super::events::{RelayEvent, Response};
use super::leftovers::Moderated;
use super::placement::{self, Candidate, Criteria, RelayCriteria};
use super::relay::{LimitExceeded, LinkRefused, LinkedRelay, Relay, RelayInfo};
use super::status::RelayStatus;
use crate::domain::{NodeName, RelayName};
use crate::inbox::Inbox;
use crate::mutex::lock;
use crate::random;

/// After a start of this node, the time in which its relays link.
const LINK_WAIT: Duration = Duration::from_secs(5);
/// Time between two checks for a relay during that time.
const LINK_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// All relays known to this node. Clones share state.
#[derive(Clone)]
pub struct Relays {
    relays: Arc<Mutex<HashMap<RelayName, Relay>>>,
    moderated: Arc<Mutex<Moderated>>,
    /// Commands that a relay rejected because their fence was older than the room's.
    fenced: Arc<AtomicU64>,
    /// The start of this node.
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

/// A relay's link. Dropping it unlinks the relay.
pub struct Linked {
    relays: Weak<Mutex<HashMap<RelayName, Relay>>>,
    fenced: Arc<AtomicU64>,
    name: RelayName,
    serial: u64,
    close: Arc<Notify>,
}

impl Relays {
    // ---- Links

    /// Registers a relay's link and closes an older link of the same name.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded::LinkRate`] if the relay links too often: each new link makes its rooms check their sessions.
    /// [`LinkRefused::NameInUse`] if another relay of this name is linked.
    pub fn link(
        &self,
        name: RelayName,
        info: RelayInfo,
        out: mpsc::Sender<bytes::Bytes>,
    ) -> Result<Linked, LinkRefused> {
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

    /// True if any boot of the relay is linked.
    pub fn is_linked(&self, name: &RelayName) -> bool {
        self.lock().get(name).is_some_and(Relay::is_linked)
    }

    /// The relay, if this boot of it is linked.
    pub fn linked_at(&self, name: &RelayName, boot: BootId) -> Option<LinkedRelay> {
        let relays = self.lock();
        let relay = relays.get(name)?;
        let is_it = relay.is_linked() && relay.info().boot == boot;
        is_it.then(|| relay.linked_relay())
    }

    /// As [`linked_at`](Self::linked_at), but waits up to 5 s after a start of this node, while relays link.
    pub async fn linked_in_time(&self, name: &RelayName, boot: BootId) -> Option<LinkedRelay> {
        loop {
            let found = self.linked_at(name, boot);
            if found.is_some() || self.started.elapsed() >= LINK_WAIT || self.is_linked(name) {
                return found;
            }
            tokio::time::sleep(LINK_POLL_INTERVAL).await;
        }
    }

    /// Tells the rooms of a relay that is not admitted any more that their sessions are lost, so that they move. Does nothing if
    /// a relay of this name is linked.
    pub fn lose_sessions(&self, name: &RelayName) {
        if let Some(relay) = self.lock().get_mut(name)
            && !relay.is_linked()
        {
            relay.lose_sessions();
        }
    }

    /// The idle timeout of this boot of a relay; `None` if it was never linked.
    pub fn idle_timeout(&self, name: &RelayName, boot: BootId) -> Option<Duration> {
        let relays = self.lock();
        let info = relays.get(name)?.info();
        (info.boot == boot).then_some(info.idle_timeout)
    }

    /// The state of the linked relays, sorted by name, as seen by the node `me`.
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

    /// Tells the relay to drain. Returns false if it is not linked.
    pub fn drain(&self, relay: &RelayName) -> bool {
        let kind = wire::control_to_relay::Kind::Drain(wire::Drain {});
        let bytes = framing::encode(&wire::ControlToRelay { kind: Some(kind) });
        let mut relays = self.lock();
        let relay = relays.get_mut(relay);
        relay.is_some_and(|relay| relay.send_message(bytes))
    }

    // ---- Placement

    /// Chooses a relay with capacity for one more session that speaks the version of media, by the rules of [`placement`].
    pub fn pick(&self, criteria: &RelayCriteria<'_>) -> Option<LinkedRelay> {
        let (relays, now) = (self.lock(), Instant::now());
        let candidates = relays
            .iter()
            .filter(|(_, relay)| relay.takes_rooms(criteria.media_version))
            .filter(|(_, relay)| !criteria.for_whole_room || relay.would_take(criteria, now))
            .map(|(name, relay)| Candidate {
                id: name,
                region: relay.info().region.as_ref(),
                load: relay.load(),
                refuses: relay.refuses(now),
            });
        let criteria = Criteria {
            region: criteria.region.map(Some),
            avoid: criteria.avoid,
        };
        let name = placement::choose(candidates, &criteria, random::below)?;
        relays.get(name).map(Relay::linked_relay)
    }

    /// Chooses a relay for a room: the boot that its home names if it qualifies, else as [`pick`](Self::pick). A relay's own
    /// claim to have the room has no influence.
    pub fn pick_for(&self, criteria: &RelayCriteria<'_>) -> Option<LinkedRelay> {
        let named = criteria
            .prefer
            .filter(|place| Some(&place.relay) != criteria.avoid);
        let still_there = named.and_then(|place| {
            let relays = self.lock();
            let relay = relays.get(&place.relay)?;
            let is_it =
                relay.info().boot == place.boot && relay.would_take(criteria, Instant::now());
            is_it.then(|| relay.linked_relay())
        });
        still_there.or_else(|| self.pick(criteria))
    }

    /// The highest version of media datagrams that this node, a linked relay and a client with the range `theirs` share. While no
    /// relay is linked, the highest that node and client share.
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

    /// Records that this boot of the relay did not answer a command to open a session.
    pub fn note_unanswered(&self, relay: &LinkedRelay) {
        if let Some(known) = self.lock().get_mut(&relay.name)
            && known.info().boot == relay.boot
        {
            known.open_failed(None);
        }
    }

    // ---- Rooms

    /// Sends the relay's events to the room from now on. Returns false if this boot of the relay is not known.
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

    /// Stops sending the relay's events to the room.
    pub fn leave(&self, relay: &LinkedRelay, conference: ConferenceId) {
        if let Some(known) = self.lock().get_mut(&relay.name) {
            known.remove_room(conference);
        }
    }

    /// Sends a command. The result goes to the room's inbox with the room's own number of the command.
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

    /// Number of commands that relays rejected because of an older fence.
    pub fn fenced(&self) -> u64 {
        self.fenced.load(Ordering::Relaxed)
    }

    // ---- Leftovers

    /// From now on, closes leftovers of the conference without a grace period.
    pub fn note_moderated(&self, conference: ConferenceId) {
        self.moderated().note(Instant::now(), conference);
    }

    /// Marks the room's sessions at this boot of the relay as leftovers.
    pub fn note_leftover(&self, conference: ConferenceId, relay: &RelayName, boot: BootId) {
        if let Some(relay) = self.lock().get_mut(relay)
            && relay.info().boot == boot
            && !relay.has_room(conference)
        {
            relay.leftovers_mut().add(conference);
        }
    }

    /// Marks the sessions of a room as leftovers after its actor ended without closing them.
    pub fn lose_room(&self, conference: ConferenceId, room: &Inbox<RelayEvent>) {
        for relay in self.lock().values_mut() {
            relay.lose_room(conference, room);
        }
    }

    /// The linked relays with leftovers of the conference, and the time since when.
    pub fn leftovers_of(&self, conference: ConferenceId) -> Vec<(LinkedRelay, Instant)> {
        let relays = self.lock();
        let linked = relays.values().filter(|relay| relay.is_linked());
        let with_leftovers = linked.filter_map(|relay| {
            let since = relay.leftovers().since(conference)?;
            Some((relay.linked_relay(), since))
        });
        with_leftovers.collect()
    }

    /// Leftovers to close now, of all linked relays; those of moderated conferences first.
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

    /// Removes a leftover that the relay has closed.
    pub fn leftover_closed(&self, relay: &LinkedRelay, conference: ConferenceId) {
        if let Some(known) = self.lock().get_mut(&relay.name) {
            known.leftovers_mut().remove(conference);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RelayName, Relay>> {
        lock(&self.relays)
    }

    fn moderated(&self) -> MutexGuard<'_, Moderated> {
        lock(&self.moderated)
    }
}

impl Linked {
    /// Resolves when the link must be closed: a newer link has replaced it, or its queue is full.
    pub async fn closed(&self) {
        self.close.notified().await;
    }

    /// True unless a newer link has replaced it.
    pub fn is_newest(&self) -> bool {
        self.with(|_| ()).is_some()
    }

    /// Passes a command's result to the room that sent the command.
    pub fn result(&self, result: CommandResult) {
        if result.outcome == CommandOutcome::Fenced {
            self.fenced.fetch_add(1, Ordering::Relaxed);
        }
        self.with(|relay| relay.answered(result));
    }

    /// Passes an event to the room of a conference on this relay.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded::RoomInbox`] if the room's inbox is full. The link then ends; after the next one, rooms query the relay
    /// for missed events.
    pub fn notify_room(
        &self,
        conference: ConferenceId,
        event: RelayEvent,
    ) -> Result<(), LimitExceeded> {
        let notified = self.with(|relay| relay.notify_room(conference, event));
        notified.unwrap_or(Ok(()))
    }

    /// Stores a load report, with implausible values capped. Once a relay drains, it stays draining until it ends.
    pub fn report(&self, load: &wire::RelayLoad) {
        self.with(|relay| relay.report(load));
    }

    /// No message has come for a while: the relay's rooms probe it.
    pub fn mark_silent(&self) {
        self.with(Relay::mark_silent);
    }

    /// Messages arrive again.
    pub fn mark_responsive(&self) {
        self.with(Relay::mark_responsive);
    }

    /// The relay reports that it has these rooms.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded::Rooms`] if it reports more leftovers than a relay can have.
    pub fn live_rooms(&self, conferences: &[ConferenceId]) -> Result<(), LimitExceeded> {
        let notified = self.with(|relay| {
            for conference in conferences {
                if relay.has_room(*conference) {
                    continue;
                }
                if relay.leftovers().is_full() {
                    return Err(LimitExceeded::Rooms);
                }
                relay.leftovers_mut().add(*conference);
            }
            Ok(())
        });
        notified.unwrap_or(Ok(()))
    }

    /// Runs `act` on the relay; `None` if a newer link has replaced this one.
    fn with<T>(&self, act: impl FnOnce(&mut Relay) -> T) -> Option<T> {
        let relays = self.relays.upgrade()?;
        let mut relays = lock(&relays);
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

    /// A relay that stays linked while both values are kept.
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
        let relay = relays.pick(&RelayCriteria {
            media_version: version::MEDIA.max(),
            region: region.as_ref(),
            prefer: None,
            avoid: avoid.as_ref(),
            sessions: 1,
            for_whole_room: false,
        })?;
        Some(relay.name.as_str().to_owned())
    }

    #[test]
    fn a_relay_is_picked_by_region_and_load() {
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

    /// The relay answers a command to open a session.
    fn answer(linked: &Linked, result: &CommandResult, after: Duration) {
        linked.with(|relay| relay.answered_open(result, after));
    }

    #[test]
    fn a_relay_that_opens_no_session_gets_no_room_while_another_exists() {
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
    fn if_all_relays_refuse_sessions_one_is_still_picked() {
        let relays = Relays::default();
        let (east, _east_queue) = link(&relays, "east", "east");
        answer(&east, &result(CommandOutcome::Full, None), Duration::ZERO);
        assert_eq!(picked(&relays, None, None).as_deref(), Some("east"));
        let all = RelayCriteria {
            media_version: version::MEDIA.max(),
            region: None,
            prefer: None,
            avoid: None,
            sessions: 1,
            for_whole_room: true,
        };
        assert_eq!(relays.pick(&all), None);
        // Another boot of the relay has no refusals.
        drop(east);
        let info = RelayInfo {
            boot: BootId([2; 16]),
            ..info("east")
        };
        let (out, _queue) = mpsc::channel(1);
        let _linked = relays.link("east".parse().unwrap(), info, out).unwrap();
        assert!(relays.pick(&all).is_some());
        let too_many = RelayCriteria {
            sessions: 11,
            ..all
        };
        assert_eq!(relays.pick(&too_many), None);
    }
}
