//! One relay as this node knows it: its link, its reports, its rooms and its leftovers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_protocol::cluster::{Action, BootId, Command, CommandOutcome, CommandResult, Fence};
use confab_protocol::control::framing;
use confab_protocol::control::{ConferenceId, Region};
use confab_protocol::version::VersionRange;
use confab_protocol::wire;
use tokio::sync::{Notify, mpsc};

use super::COMMAND_DEADLINE;
use super::events::{RelayEvent, Response};
use super::leftovers::Leftovers;
use super::placement::{Load, RelayWish};
use super::refusals::Refusals;
use crate::domain::RelayName;
use crate::inbox::{Inbox, InboxFull};
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

/// A relay that has been linked to this node.
pub(super) struct Relay {
    name: RelayName,
    info: RelayInfo,
    /// `None` while the link is broken.
    link: Option<Link>,
    /// True while nothing comes over the link.
    silent: bool,
    /// Counts links, so that the end of an old one does not end the new one.
    serial: u64,
    /// The rooms of this node that are on the relay.
    rooms: HashMap<ConferenceId, Inbox<RelayEvent>>,
    /// The rooms that the relay has and that no room here knows of.
    leftovers: Leftovers,
    /// Its last report; zeros before the first.
    reported: wire::RelayLoad,
    /// Sessions opened since the last report.
    opened: u32,
    /// The refusals of this boot.
    refusals: Refusals,
    /// The rate of its links.
    links: Bucket,
}

struct Link {
    out: mpsc::Sender<bytes::Bytes>,
    /// Closes the connection.
    close: Arc<Notify>,
    next_command: u64,
    pending: HashMap<u64, Pending>,
}

/// A command that the relay has not answered.
struct Pending {
    room: Inbox<RelayEvent>,
    /// The room's number of the command.
    command: u64,
    asked: Instant,
    /// Whether it asks for media sessions.
    lists: bool,
    /// Whether it opens a media session at the boot that is linked.
    opens: bool,
}

impl Relay {
    /// A relay that is about to link for the first time.
    pub(super) fn new(name: RelayName, info: RelayInfo) -> Self {
        Self {
            name,
            info,
            link: None,
            silent: false,
            serial: 0,
            rooms: HashMap::new(),
            leftovers: Leftovers::default(),
            reported: wire::RelayLoad::default(),
            opened: 0,
            refusals: Refusals::default(),
            links: Bucket::new(LINK_RATE, Instant::now()),
        }
    }

    /// The relay links; an older link is closed. Returns the number of the link. If it is another boot of the relay, its rooms are told that
    /// their sessions are gone.
    pub(super) fn link(
        &mut self,
        mut info: RelayInfo,
        out: mpsc::Sender<bytes::Bytes>,
        close: Arc<Notify>,
    ) -> Result<u64, TooMuch> {
        if self.links.take(Instant::now()).is_err() {
            return Err(TooMuch::Links);
        }
        info.max_sessions = info.max_sessions.min(MAX_SESSIONS);
        self.break_link();
        if self.info.boot == info.boot {
            self.tell_rooms(RelayEvent::Back);
        } else {
            self.give_rooms_up();
            self.reported = wire::RelayLoad::default();
            self.leftovers = Leftovers::default();
            self.refusals = Refusals::default();
        }
        self.serial += 1;
        self.link = Some(Link {
            out,
            close,
            next_command: 0,
            pending: HashMap::new(),
        });
        (self.info, self.silent) = (info, false);
        Ok(self.serial)
    }

    /// Whether the link of this number is the newest.
    pub(super) fn has_link(&self, serial: u64) -> bool {
        self.serial == serial
    }

    pub(super) fn is_linked(&self) -> bool {
        self.link.is_some()
    }

    pub(super) fn info(&self) -> &RelayInfo {
        &self.info
    }

    /// The last report; zeros before the first.
    pub(super) fn reported(&self) -> wire::RelayLoad {
        self.reported
    }

    pub(super) fn leftovers(&self) -> &Leftovers {
        &self.leftovers
    }

    pub(super) fn leftovers_mut(&mut self) -> &mut Leftovers {
        &mut self.leftovers
    }

    /// The relay, for a room that is placed on it.
    pub(super) fn linked_relay(&self) -> LinkedRelay {
        LinkedRelay {
            name: self.name.clone(),
            boot: self.info.boot,
            addresses: self.info.addresses.clone(),
            region: self.info.region.clone(),
            media: self.info.media,
            idle_timeout: self.info.idle_timeout,
        }
    }

    // ---- Placement

    /// Whether the relay has room for the wish, and no open has failed there lately.
    pub(super) fn would_take(&self, wish: &RelayWish<'_>, now: Instant) -> bool {
        self.takes_rooms(wish.media_version)
            && self.load().has_room_for(wish.sessions)
            && !self.refuses(now)
    }

    /// Whether rooms of this version of media datagrams may come to the relay.
    pub(super) fn takes_rooms(&self, media_version: u32) -> bool {
        self.is_linked()
            && !self.silent
            && !self.reported.draining
            && self.info.media.contains(media_version)
    }

    /// Whether an open has failed there lately.
    pub(super) fn refuses(&self, now: Instant) -> bool {
        self.refusals.is_last(now)
    }

    /// The load of the last report, and of what has been asked since.
    pub(super) fn load(&self) -> Load {
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

    // ---- Rooms

    /// Tells the room of the relay from now on: at once what the room has missed.
    pub(super) fn add_room(&mut self, conference: ConferenceId, room: Inbox<RelayEvent>) {
        if !self.is_linked() || self.silent {
            room.send(RelayEvent::Silent(self.info.boot));
        }
        if self.reported.draining {
            room.send(RelayEvent::Drains(self.info.boot));
        }
        self.rooms.insert(conference, room);
        // The room's first command closes what was there before.
        self.leftovers.remove(conference);
    }

    pub(super) fn remove_room(&mut self, conference: ConferenceId) {
        self.rooms.remove(&conference);
    }

    pub(super) fn has_room(&self, conference: ConferenceId) -> bool {
        self.rooms.contains_key(&conference)
    }

    /// The room with this inbox has ended without closing its sessions: they are left over.
    pub(super) fn lose_room(&mut self, conference: ConferenceId, room: &Inbox<RelayEvent>) {
        let known = self.rooms.get(&conference);
        if known.is_some_and(|known| known.is_same(room)) {
            self.rooms.remove(&conference);
            self.leftovers.add(conference);
        }
    }

    /// Hands an event to the room of a conference that is on the relay. Fails if the room has not taken in what it was told before.
    pub(super) fn tell_room(
        &self,
        conference: ConferenceId,
        event: RelayEvent,
    ) -> Result<(), TooMuch> {
        match self.rooms.get(&conference) {
            Some(room) => Ok(room.offer(event)?),
            None => Ok(()),
        }
    }

    // ---- The link

    /// Nothing has come over the link for a while: the relay's rooms look whether it lives.
    pub(super) fn fall_silent(&mut self) {
        self.silent = true;
        self.tell_rooms(RelayEvent::Silent);
    }

    /// Something comes over the link again.
    pub(super) fn speak_again(&mut self) {
        self.silent = false;
        self.tell_rooms(RelayEvent::Heard);
    }

    /// The link is over. The relay's rooms look whether it lives.
    pub(super) fn unlink(&mut self) {
        self.break_link();
        self.tell_rooms(RelayEvent::Silent);
    }

    /// Takes a load report, as far as it can be true. A relay that drains does so until it ends.
    pub(super) fn report(&mut self, load: &wire::RelayLoad) {
        if load.draining && !self.reported.draining {
            self.tell_rooms(RelayEvent::Drains);
        }
        self.reported = wire::RelayLoad {
            sessions: load.sessions.min(MAX_SESSIONS),
            rooms: load.rooms.min(MAX_SESSIONS),
            datagrams_in_per_s: load.datagrams_in_per_s.min(MAX_DATAGRAMS_PER_S),
            datagrams_out_per_s: load.datagrams_out_per_s.min(MAX_DATAGRAMS_PER_S),
            busy_percent: load.busy_percent.min(100),
            draining: load.draining || self.reported.draining,
        };
        self.opened = 0;
        if let Some(link) = &mut self.link {
            link.forget_old();
        }
    }

    /// Hands the result of a command to its room.
    pub(super) fn answered(&mut self, mut result: CommandResult) {
        let link = self.link.as_mut();
        let pending = link.and_then(|link| link.pending.remove(&result.id));
        let Some(pending) = pending else {
            return;
        };
        if pending.opens {
            self.answered_open(&result, pending.asked.elapsed());
        }
        if !pending.lists {
            result.media.clear();
        }
        pending.answer(Response::Answered(result));
    }

    /// The relay has answered the open of a session.
    pub(super) fn answered_open(&mut self, result: &CommandResult, after: Duration) {
        match result.outcome {
            CommandOutcome::Obeyed if result.connection_id.is_some() => {
                // The room that asked has gone elsewhere when the answer came too late.
                if after < COMMAND_DEADLINE {
                    self.refusals.opened();
                }
            }
            outcome => self.open_failed(Some(outcome)),
        }
    }

    /// The relay did not open a session; `None`: it did not answer.
    pub(super) fn open_failed(&mut self, outcome: Option<CommandOutcome>) {
        if self.refusals.refused(Instant::now()) {
            let outcome = outcome.map_or("no answer", |outcome| outcome.as_str_name());
            tracing::warn!(relay = %self.name, outcome, "a relay does not open media sessions: for a while rooms go there only if there is no other");
        }
    }

    /// Sends a command. False if the relay is not linked.
    pub(super) fn send(
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

    /// Sends a message that is not a command. False if the relay is not linked, or does not read its link.
    pub(super) fn send_message(&mut self, bytes: bytes::Bytes) -> bool {
        let Some(link) = &self.link else {
            return false;
        };
        let sent = link.out.try_send(bytes).is_ok();
        if !sent {
            link.close.notify_one();
        }
        sent
    }

    fn break_link(&mut self) {
        if let Some(link) = self.link.take() {
            link.close.notify_one();
            for pending in link.pending.into_values() {
                pending.answer(Response::NoLink);
            }
        }
    }

    fn tell_rooms(&self, of: impl Fn(BootId) -> RelayEvent) {
        for room in self.rooms.values() {
            room.send(of(self.info.boot));
        }
    }

    /// The sessions of the relay's rooms are gone.
    pub(super) fn give_rooms_up(&mut self) {
        self.tell_rooms(RelayEvent::Gone);
        self.rooms.clear();
    }
}

impl Link {
    fn forget_old(&mut self) {
        self.pending
            .retain(|_, pending| pending.asked.elapsed() < FORGET_COMMAND);
    }
}

impl Pending {
    fn answer(self, response: Response) {
        let command = self.command;
        self.room
            .send(RelayEvent::CommandDone { command, response });
    }
}
