//! Which relays are linked, and which rooms are on them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use confab_protocol::cluster::{Action, BootId, Command, CommandOutcome, CommandResult, Fence};
use confab_protocol::control::framing;
use confab_protocol::control::{ConferenceId, Region};
use confab_protocol::version::{self, VersionRange};
use confab_protocol::wire;
use tokio::sync::mpsc;

use super::COMMAND_DEADLINE;
use super::events::{RelayEvent, Response};
use super::leftovers::{Leftover, Moderated};
use super::names::RelayName;
use super::placement::RelayWish;
use super::placement::{self, Candidate, Load, Wish};
use super::refusals::Refusals;
use crate::inbox::{Inbox, InboxFull};
use crate::random;
use crate::throttle::{Bucket, Rate};

/// A command that was not answered by then will not be: its room gave up long ago.
const FORGET_COMMAND: Duration = Duration::from_secs(30);
/// Commands that wait for their results at most; with one more, the relay loses its link.
const MAX_PENDING: usize = 32_768;
/// Media sessions that a relay is believed to take, or to have.
const MAX_SESSIONS: u32 = 1_000_000;
/// Datagrams a second that a relay is believed to carry.
const MAX_DATAGRAMS_PER_S: u64 = 1_000_000_000;
/// Links of one relay: so many at once, then so many a second. A relay waits 0.1 s and longer between two.
const LINK_RATE: Rate = Rate {
    burst: 10.0,
    per_second: 0.5,
};

/// A relay that a room can be placed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedRelay {
    /// Which.
    pub name: RelayName,
    /// Which run of it.
    pub boot: BootId,
    /// Where clients reach it.
    pub addresses: Vec<SocketAddr>,
    /// Which region it serves.
    pub region: Option<Region>,
    /// Versions of media datagrams that it speaks.
    pub media: VersionRange,
    /// It ends a session from which it hears nothing for so long.
    pub idle_timeout: Duration,
}

/// A relay's first message, read.
#[derive(Clone, Debug)]
pub struct RelayInfo {
    /// Which run of the relay.
    pub boot: BootId,
    /// Which region it serves.
    pub region: Option<Region>,
    /// Where clients reach it.
    pub addresses: Vec<SocketAddr>,
    /// Media sessions that it takes.
    pub max_sessions: u32,
    /// Versions of media datagrams that it speaks.
    pub media: VersionRange,
    /// It ends a session from which it hears nothing for so long.
    pub idle_timeout: Duration,
}

/// All relays that this node knows. Clones share them.
#[derive(Clone)]
pub struct Relays {
    relays: Arc<Mutex<HashMap<RelayName, Relay>>>,
    pub(super) moderated: Arc<Mutex<Moderated>>,
    /// Commands that a relay did not obey because of their era or placement.
    fenced: Arc<AtomicU64>,
    /// When this node began to be there for relays.
    pub(super) started: Instant,
}

impl Default for Relays {
    /// None yet.
    fn default() -> Self {
        Self {
            relays: Arc::default(),
            moderated: Arc::default(),
            fenced: Arc::default(),
            started: Instant::now(),
        }
    }
}

pub(super) struct Relay {
    pub(super) info: RelayInfo,
    /// `None` while the link is broken.
    pub(super) link: Option<Link>,
    /// True while nothing comes over the link.
    silent: bool,
    /// Counts links, so that the end of an old one does not end the new one.
    serial: u64,
    pub(super) rooms: HashMap<ConferenceId, Inbox<RelayEvent>>,
    /// Rooms that the relay has and that no room here knows of, since when.
    pub(super) leftovers: HashMap<ConferenceId, Leftover>,
    /// Its last report; nothing before the first.
    pub(super) reported: wire::RelayLoad,
    /// Sessions opened since the last report.
    opened: u32,
    /// Whether it opens sessions; of this run.
    refusals: Refusals,
    /// How often it may link.
    links: Bucket,
}

pub(super) struct Link {
    out: mpsc::Sender<bytes::Bytes>,
    /// Closes the connection when dropped or told.
    close: Arc<tokio::sync::Notify>,
    next_command: u64,
    pending: HashMap<u64, Pending>,
}

struct Pending {
    room: Inbox<RelayEvent>,
    command: u64,
    asked: Instant,
    /// Whether it asks for media sessions.
    lists: bool,
    /// Whether it opens a media session at the run of the relay that is linked.
    opens: bool,
}

/// A relay says more than any would that means well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// It links again and again.
    #[error("it links too often")]
    Links,
    /// It claims more rooms than a relay has.
    #[error(
        "it says that it has more than {} rooms",
        super::leftovers::MAX_LEFTOVERS
    )]
    Rooms,
    /// A room cannot take in what it says.
    #[error("it says more of a room than the room takes in")]
    Inbox,
}

impl From<InboxFull> for TooMuch {
    fn from(_: InboxFull) -> Self {
        Self::Inbox
    }
}

/// A relay's place in the registry while it is linked.
pub struct Linked {
    fenced: Arc<AtomicU64>,
    relays: Weak<Mutex<HashMap<RelayName, Relay>>>,
    name: RelayName,
    serial: u64,
    close: Arc<tokio::sync::Notify>,
}

impl Relays {
    /// Enters a relay; an older link of the same name is closed. Its rooms go elsewhere if it has forgotten them.
    ///
    /// # Errors
    ///
    /// When it links too often: its rooms look each time whether it lives.
    pub fn link(
        &self,
        name: RelayName,
        mut info: RelayInfo,
        out: mpsc::Sender<bytes::Bytes>,
    ) -> Result<Linked, TooMuch> {
        info.max_sessions = info.max_sessions.min(MAX_SESSIONS);
        let close = Arc::new(tokio::sync::Notify::new());
        let link = Link {
            out,
            close: close.clone(),
            next_command: 0,
            pending: HashMap::new(),
        };
        let mut relays = self.lock();
        let relay = relays.entry(name.clone()).or_insert_with(|| Relay {
            info: info.clone(),
            link: None,
            silent: false,
            serial: 0,
            rooms: HashMap::new(),
            leftovers: HashMap::new(),
            reported: wire::RelayLoad::default(),
            opened: 0,
            refusals: Refusals::default(),
            links: Bucket::new(LINK_RATE, Instant::now()),
        });
        if relay.links.take(Instant::now()).is_err() {
            return Err(TooMuch::Links);
        }
        relay.break_link();
        if relay.info.boot == info.boot {
            relay.tell_rooms(RelayEvent::Back);
        } else {
            relay.give_rooms_up();
            relay.reported = wire::RelayLoad::default();
            relay.leftovers.clear();
            relay.refusals = Refusals::default();
        }
        relay.serial += 1;
        (relay.info, relay.link, relay.silent) = (info, Some(link), false);
        Ok(Linked {
            fenced: self.fenced.clone(),
            relays: Arc::downgrade(&self.relays),
            name,
            serial: relay.serial,
            close,
        })
    }

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
                region: relay.info.region.as_ref(),
                load: relay.load(),
                refuses: relay.refusals.is_last(now),
            });
        let wish = Wish {
            region: wish.region.map(Some),
            avoid: wish.avoid,
        };
        let name = placement::choose(candidates, &wish, random::below)?;
        relays.get(name).map(|relay| relay.linked_as(name))
    }

    /// The highest version of media datagrams that this node, a linked relay and a client that speaks `theirs` have in common.
    /// While no relay is linked, that this node and the client have.
    pub fn media_version(&self, theirs: VersionRange) -> Option<u32> {
        let ours = version::MEDIA.common(theirs)?;
        let relays = self.lock();
        let mut linked = relays.values().filter(|relay| relay.link.is_some());
        match linked.next() {
            None => Some(ours.max()),
            Some(first) => std::iter::once(first)
                .chain(linked)
                .filter_map(|relay| relay.info.media.common(ours))
                .map(VersionRange::max)
                .max(),
        }
    }

    /// Has the room hear of the relay from now on; false when that run of it is not there any more.
    pub fn settle(
        &self,
        relay: &LinkedRelay,
        conference: ConferenceId,
        room: Inbox<RelayEvent>,
    ) -> bool {
        match self.lock().get_mut(&relay.name) {
            Some(known) if known.info.boot == relay.boot => {
                // What it missed.
                if known.link.is_none() || known.silent {
                    room.send(RelayEvent::Silent(relay.boot));
                }
                if known.reported.draining {
                    room.send(RelayEvent::Drains(relay.boot));
                }
                known.rooms.insert(conference, room);
                // The room's first command closes what was there before.
                known.leftovers.remove(&conference);
                true
            }
            _ => false,
        }
    }

    /// Has the room hear no more of the relay.
    pub fn leave(&self, relay: &LinkedRelay, conference: ConferenceId) {
        if let Some(known) = self.lock().get_mut(&relay.name) {
            known.rooms.remove(&conference);
        }
    }

    /// Sends a command; the room hears of its outcome under the room's own number for it.
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

    /// That run of the relay did not answer in time when it was asked to open a session.
    pub fn note_unanswered(&self, relay: &LinkedRelay) {
        if let Some(known) = self.lock().get_mut(&relay.name)
            && known.info.boot == relay.boot
        {
            known.refused(&relay.name, None);
        }
    }

    /// Has the rooms of a relay that is not let in any more go elsewhere, unless another of its name is linked.
    pub fn give_up(&self, name: &RelayName) {
        if let Some(relay) = self.lock().get_mut(name)
            && relay.link.is_none()
        {
            relay.give_rooms_up();
        }
    }

    /// The idle timeout of that run of a relay, if it has ever been linked.
    pub fn idle_timeout(&self, name: &RelayName, boot: BootId) -> Option<Duration> {
        let relays = self.lock();
        let known = relays.get(name).filter(|relay| relay.info.boot == boot);
        known.map(|relay| relay.info.idle_timeout)
    }

    /// How many relays are linked.
    pub fn linked(&self) -> usize {
        self.lock()
            .values()
            .filter(|relay| relay.link.is_some())
            .count()
    }

    /// How many commands were not obeyed because of their era or placement.
    pub fn fenced(&self) -> u64 {
        self.fenced.load(Ordering::Relaxed)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<RelayName, Relay>> {
        self.relays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Linked {
    /// Resolves when the link is to be closed: another has taken its place, or its queue is full.
    pub async fn closed(&self) {
        self.close.notified().await;
    }

    /// Hands a command's outcome to its room.
    pub fn result(&self, result: CommandResult) {
        if result.outcome == CommandOutcome::Fenced {
            self.fenced.fetch_add(1, Ordering::Relaxed);
        }
        self.with(|relay| {
            let pending = relay
                .link
                .as_mut()
                .and_then(|link| link.pending.remove(&result.id));
            if let Some(Pending {
                room,
                command,
                lists,
                opens,
                asked,
            }) = pending
            {
                let mut result = result;
                if opens {
                    relay.answered_open(&self.name, &result, asked.elapsed());
                }
                if !lists {
                    result.media.clear();
                }
                let response = Response::Answered(result);
                room.send(RelayEvent::CommandDone { command, response });
            }
        });
    }

    /// Hands something to the room of a conference that is on this relay.
    ///
    /// # Errors
    ///
    /// When the room has not taken in what it was told before. Where a relay is linked again, its rooms ask it what they missed.
    pub fn tell(&self, conference: ConferenceId, event: RelayEvent) -> Result<(), TooMuch> {
        let told = self.with(|relay| match relay.rooms.get(&conference) {
            Some(room) => room.offer(event).map_err(TooMuch::from),
            None => Ok(()),
        });
        told.unwrap_or(Ok(()))
    }

    /// Takes a load report, as far as it can be true. A relay that drains does so until it ends.
    pub fn report(&self, load: &wire::RelayLoad) {
        self.with(|relay| {
            if load.draining && !relay.reported.draining {
                relay.tell_rooms(RelayEvent::Drains);
            }
            relay.reported = wire::RelayLoad {
                sessions: load.sessions.min(MAX_SESSIONS),
                rooms: load.rooms.min(MAX_SESSIONS),
                datagrams_in_per_s: load.datagrams_in_per_s.min(MAX_DATAGRAMS_PER_S),
                datagrams_out_per_s: load.datagrams_out_per_s.min(MAX_DATAGRAMS_PER_S),
                busy_percent: load.busy_percent.min(100),
                draining: load.draining || relay.reported.draining,
            };
            relay.opened = 0;
            if let Some(link) = &mut relay.link {
                link.forget_old();
            }
        });
    }

    /// Nothing has come over the link for a while: the relay's rooms look whether it lives.
    pub fn silent(&self) {
        self.with(|relay| {
            relay.silent = true;
            relay.tell_rooms(RelayEvent::Silent);
        });
    }

    /// Something comes again.
    pub fn heard(&self) {
        self.with(|relay| {
            relay.silent = false;
            relay.tell_rooms(RelayEvent::Heard);
        });
    }

    /// `None` when another link has taken this one's place.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Relay) -> T) -> Option<T> {
        let relays = self.relays.upgrade()?;
        let mut relays = relays.lock().unwrap_or_else(PoisonError::into_inner);
        let relay = relays.get_mut(&self.name)?;
        (relay.serial == self.serial).then(|| act(relay))
    }
}

impl Link {
    fn forget_old(&mut self) {
        self.pending
            .retain(|_, pending| pending.asked.elapsed() < FORGET_COMMAND);
    }
}

impl Drop for Linked {
    /// The link is over, however its task ended. The relay's rooms look whether it lives.
    fn drop(&mut self) {
        self.with(|relay| {
            relay.break_link();
            relay.tell_rooms(RelayEvent::Silent);
        });
    }
}

impl Relay {
    pub(super) fn linked_as(&self, name: &RelayName) -> LinkedRelay {
        LinkedRelay {
            name: name.clone(),
            boot: self.info.boot,
            addresses: self.info.addresses.clone(),
            region: self.info.region.clone(),
            media: self.info.media,
            idle_timeout: self.info.idle_timeout,
        }
    }

    /// Whether it has room for what is wished, and no open failed there lately.
    pub(super) fn would_take(&self, wish: &RelayWish<'_>, now: Instant) -> bool {
        self.takes_rooms(wish.media_version)
            && self.load().has_room_for(wish.sessions)
            && !self.refusals.is_last(now)
    }

    fn takes_rooms(&self, media_version: u32) -> bool {
        self.link.is_some()
            && !self.silent
            && !self.reported.draining
            && self.info.media.contains(media_version)
    }

    fn load(&self) -> Load {
        let reported = &self.reported;
        Load {
            sessions: reported.sessions,
            max_sessions: self.info.max_sessions,
            busy_percent: reported.busy_percent,
            datagrams_per_s: reported
                .datagrams_in_per_s
                .saturating_add(reported.datagrams_out_per_s),
            opened: self.opened,
        }
    }

    fn answered_open(&mut self, name: &RelayName, result: &CommandResult, after: Duration) {
        match result.outcome {
            CommandOutcome::Obeyed if result.connection_id.is_some() => {
                // The room that asked has gone elsewhere when the answer came too late.
                if after < COMMAND_DEADLINE {
                    self.refusals.opened();
                }
            }
            outcome => self.refused(name, Some(outcome)),
        }
    }

    /// An open failed there; `None`: for want of an answer.
    fn refused(&mut self, name: &RelayName, outcome: Option<CommandOutcome>) {
        if self.refusals.refused(Instant::now()) {
            let outcome = outcome.map_or("no answer", |outcome| outcome.as_str_name());
            tracing::warn!(relay = %name, outcome, "a relay does not open media sessions: for a while rooms go there only if there is no other");
        }
    }

    fn send(
        &mut self,
        conference: ConferenceId,
        (command, room): (u64, &Inbox<RelayEvent>),
        (fence, boot): (Fence, BootId),
        action: Action,
    ) -> bool {
        let Some(link) = &mut self.link else {
            return false;
        };
        let id = link.next_command;
        link.next_command += 1;
        let opens = matches!(action, Action::OpenMedia(_));
        let lists = matches!(action, Action::ListMedia { .. });
        let is_current = boot == self.info.boot;
        let message = Command {
            id,
            conference,
            fence,
            boot,
            action,
        };
        let kind = wire::control_to_relay::Kind::Command((&message).into());
        let bytes = framing::encode(&wire::ControlToRelay { kind: Some(kind) });
        if link.pending.len() >= MAX_PENDING {
            link.forget_old();
        }
        if link.pending.len() >= MAX_PENDING || link.out.try_send(bytes).is_err() {
            // A relay that does not read or answer fast enough loses its link rather than its order of commands.
            link.close.notify_one();
            return false;
        }
        self.opened = self.opened.saturating_add(opens.into());
        link.pending.insert(
            id,
            Pending {
                room: room.clone(),
                command,
                asked: Instant::now(),
                lists,
                opens: opens && is_current,
            },
        );
        true
    }

    /// Sends what is no command; false when the relay is not linked, or is now to be linked anew.
    pub(super) fn say(&mut self, bytes: bytes::Bytes) -> bool {
        let Some(link) = &self.link else {
            return false;
        };
        let said = link.out.try_send(bytes).is_ok();
        if !said {
            link.close.notify_one();
        }
        said
    }

    fn break_link(&mut self) {
        if let Some(link) = self.link.take() {
            link.close.notify_one();
            for Pending { room, command, .. } in link.pending.into_values() {
                let response = Response::NoLink;
                room.send(RelayEvent::CommandDone { command, response });
            }
        }
    }

    fn tell_rooms(&self, of: impl Fn(BootId) -> RelayEvent) {
        for room in self.rooms.values() {
            room.send(of(self.info.boot));
        }
    }

    fn give_rooms_up(&mut self) {
        self.tell_rooms(RelayEvent::Gone);
        self.rooms.clear();
    }
}

#[cfg(test)]
mod tests {
    use confab_protocol::media::ConnectionId;

    use super::*;

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
        let name = linked.name.clone();
        linked.with(|relay| relay.answered_open(&name, result, after));
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
