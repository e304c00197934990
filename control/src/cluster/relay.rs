//! One relay as seen by this node: its link, its reports, its rooms and its leftovers.

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
use super::placement::{Load, RelayCriteria};
use super::refusals::Refusals;
use crate::domain::RelayName;
use crate::inbox::{Inbox, InboxFull};
use crate::throttle::{Bucket, Rate};

/// A command without an answer is dropped after this time; its room has given up long before.
const COMMAND_EXPIRY: Duration = Duration::from_secs(30);
/// Maximum number of unanswered commands; one more closes the link.
const MAX_PENDING: usize = 32_768;
/// Maximum number of media sessions accepted from a report.
const MAX_SESSIONS: u32 = 1_000_000;
/// Maximum rate of datagrams accepted from a report.
const MAX_DATAGRAMS_PER_S: u64 = 1_000_000_000;
/// Rate limit for new links of one relay. A relay waits at least 0.1 s between two.
const LINK_RATE: Rate = Rate {
    burst: 10.0,
    per_second: 0.5,
};

/// A linked relay, as a room sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedRelay {
    pub name: RelayName,
    pub boot: BootId,
    /// Addresses for clients.
    pub addresses: Vec<SocketAddr>,
    pub region: Option<Region>,
    /// Supported versions of media datagrams.
    pub media: VersionRange,
    /// The relay ends a session without packets after this time.
    pub idle_timeout: Duration,
}

/// The parsed hello of a relay.
#[derive(Clone, Debug)]
pub struct RelayInfo {
    pub boot: BootId,
    pub region: Option<Region>,
    /// Addresses for clients.
    pub addresses: Vec<SocketAddr>,
    /// Maximum number of media sessions.
    pub max_sessions: u32,
    /// Supported versions of media datagrams.
    pub media: VersionRange,
    /// The relay ends a session without packets after this time.
    pub idle_timeout: Duration,
}

/// A relay exceeds a limit that no correct relay reaches. Its link is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    /// Too many new links in a short time.
    #[error("the relay links too often")]
    LinkRate,
    /// More leftovers than a relay can have.
    #[error(
        "the relay reports more than {} rooms that this node does not own",
        super::leftovers::MAX_LEFTOVERS
    )]
    Rooms,
    /// More events than the room's inbox holds.
    #[error("the relay sends events of a room faster than the room reads them")]
    RoomInbox,
}

impl From<InboxFull> for LimitExceeded {
    fn from(_: InboxFull) -> Self {
        Self::RoomInbox
    }
}

/// Why a link is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkRefused {
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// Another process of this name is linked, and heard.
    #[error("another relay at {} uses this name", shown(.at))]
    NameInUse {
        /// Its addresses for clients.
        at: Vec<SocketAddr>,
    },
}

fn shown(addresses: &[SocketAddr]) -> String {
    let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    shown.join(", ")
}

/// A relay that is or was linked to this node.
pub(super) struct Relay {
    name: RelayName,
    info: RelayInfo,
    /// `None` while the relay is not linked.
    link: Option<Link>,
    /// True while the link is open and no messages come.
    is_silent: bool,
    /// Number of the newest link, so that the end of an old link does not unlink the relay.
    serial: u64,
    /// Rooms of this node on the relay.
    rooms: HashMap<ConferenceId, Inbox<RelayEvent>>,
    /// Rooms on the relay that no room of this node owns.
    leftovers: Leftovers,
    /// The last load report; zeros before the first.
    reported: wire::RelayLoad,
    /// Sessions opened since the last report.
    opened: u32,
    refusals: Refusals,
    /// Rate limit for new links.
    links: Bucket,
}

struct Link {
    out: mpsc::Sender<bytes::Bytes>,
    /// Notified to close the connection.
    close: Arc<Notify>,
    next_command: u64,
    pending: HashMap<u64, Pending>,
}

/// An unanswered command.
struct Pending {
    room: Inbox<RelayEvent>,
    /// The room's own number of the command.
    command: u64,
    asked: Instant,
    /// True if the command lists media sessions.
    lists: bool,
    /// True if the command opens a media session at the linked boot.
    opens: bool,
}

impl Relay {
    /// A relay before its first link.
    pub(super) fn new(name: RelayName, info: RelayInfo) -> Self {
        Self {
            name,
            info,
            link: None,
            is_silent: false,
            serial: 0,
            rooms: HashMap::new(),
            leftovers: Leftovers::default(),
            reported: wire::RelayLoad::default(),
            opened: 0,
            refusals: Refusals::default(),
            links: Bucket::new(LINK_RATE, Instant::now()),
        }
    }

    /// Registers a link, closes an older one and returns the number of the new link. If the relay has restarted, its rooms are
    /// told that their sessions are lost.
    ///
    /// # Errors
    ///
    /// [`LinkRefused::NameInUse`] if another boot of the name is linked and not silent: two relays of one name would throw each other
    /// out for ever. A relay that was killed is silent before the one that is started in its place has linked, or a moment later.
    pub(super) fn link(
        &mut self,
        mut info: RelayInfo,
        out: mpsc::Sender<bytes::Bytes>,
        close: Arc<Notify>,
    ) -> Result<u64, LinkRefused> {
        if self.is_linked() && !self.is_silent && self.info.boot != info.boot {
            let at = self.info.addresses.clone();
            return Err(LinkRefused::NameInUse { at });
        }
        if self.links.take(Instant::now()).is_err() {
            return Err(LimitExceeded::LinkRate.into());
        }
        info.max_sessions = info.max_sessions.min(MAX_SESSIONS);
        self.break_link();
        if self.info.boot == info.boot {
            if self.info.addresses != info.addresses {
                self.notify_rooms(|boot| RelayEvent::Readdressed(boot, info.addresses.clone()));
            }
            self.notify_rooms(RelayEvent::Relinked);
        } else {
            self.lose_sessions();
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
        (self.info, self.is_silent) = (info, false);
        Ok(self.serial)
    }

    /// True if `serial` is the newest link.
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

    /// True if the relay has capacity for all sessions of the room and has not failed to open one recently.
    pub(super) fn would_take(&self, criteria: &RelayCriteria<'_>, now: Instant) -> bool {
        self.takes_rooms(criteria.media_version)
            && self.load().has_room_for(criteria.sessions)
            && !self.refuses(now)
    }

    /// True if rooms with this version of media datagrams can be placed here.
    pub(super) fn takes_rooms(&self, media_version: u32) -> bool {
        self.is_linked()
            && !self.is_silent
            && !self.reported.draining
            && self.info.media.contains(media_version)
    }

    /// True if the relay has recently failed to open a session.
    pub(super) fn refuses(&self, now: Instant) -> bool {
        self.refusals.is_backed_off(now)
    }

    /// The last report, and the sessions opened since.
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

    /// Sends the relay's events to the room from now on, beginning with the present state.
    pub(super) fn add_room(&mut self, conference: ConferenceId, room: Inbox<RelayEvent>) {
        if !self.is_linked() || self.is_silent {
            room.send(RelayEvent::Silent(self.info.boot));
        }
        if self.reported.draining {
            room.send(RelayEvent::Drains(self.info.boot));
        }
        self.rooms.insert(conference, room);
        // The room's first command closes older sessions.
        self.leftovers.remove(conference);
    }

    pub(super) fn remove_room(&mut self, conference: ConferenceId) {
        self.rooms.remove(&conference);
    }

    pub(super) fn has_room(&self, conference: ConferenceId) -> bool {
        self.rooms.contains_key(&conference)
    }

    /// Marks the room's sessions as leftovers, if `room` is its inbox.
    pub(super) fn lose_room(&mut self, conference: ConferenceId, room: &Inbox<RelayEvent>) {
        let known = self.rooms.get(&conference);
        if known.is_some_and(|known| known.is_same(room)) {
            self.rooms.remove(&conference);
            self.leftovers.add(conference);
        }
    }

    /// Passes an event to the room of a conference. Fails if the room's inbox is full.
    pub(super) fn notify_room(
        &self,
        conference: ConferenceId,
        event: RelayEvent,
    ) -> Result<(), LimitExceeded> {
        match self.rooms.get(&conference) {
            Some(room) => Ok(room.offer(event)?),
            None => Ok(()),
        }
    }

    // ---- The link

    /// No message has come for a while: the relay's rooms probe it.
    pub(super) fn mark_silent(&mut self) {
        self.is_silent = true;
        self.notify_rooms(RelayEvent::Silent);
    }

    /// Messages arrive again.
    pub(super) fn mark_responsive(&mut self) {
        self.is_silent = false;
        self.notify_rooms(RelayEvent::Recovered);
    }

    /// The link has ended. The relay's rooms probe it.
    pub(super) fn unlink(&mut self) {
        self.break_link();
        self.notify_rooms(RelayEvent::Silent);
    }

    /// Stores a load report, with implausible values capped. Once a relay drains, it stays draining until it ends.
    pub(super) fn report(&mut self, load: &wire::RelayLoad) {
        if load.draining && !self.reported.draining {
            self.notify_rooms(RelayEvent::Drains);
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
            link.drop_expired();
        }
    }

    /// Passes the result of a command to its room.
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

    /// Records the answer to a command to open a session.
    pub(super) fn answered_open(&mut self, result: &CommandResult, after: Duration) {
        match result.outcome {
            CommandOutcome::Obeyed if result.connection_id.is_some() => {
                // After the deadline the room has already chosen another relay.
                if after < COMMAND_DEADLINE {
                    self.refusals.opened();
                }
            }
            outcome => self.open_failed(Some(outcome)),
        }
    }

    /// Records a failure to open a session; `None` if the relay did not answer.
    pub(super) fn open_failed(&mut self, outcome: Option<CommandOutcome>) {
        if self.refusals.refused(Instant::now()) {
            let outcome = outcome.map_or("no answer", |outcome| outcome.as_str_name());
            tracing::warn!(relay = %self.name, outcome, "the relay does not open media sessions: rooms avoid it for a while");
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
            link.drop_expired();
        }
        if link.pending.len() >= MAX_PENDING || link.out.try_send(bytes).is_err() {
            // A relay that is too slow loses its link: dropping single commands would break their order.
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

    fn notify_rooms(&self, of: impl Fn(BootId) -> RelayEvent) {
        for room in self.rooms.values() {
            room.send(of(self.info.boot));
        }
    }

    /// Tells the relay's rooms that their sessions are lost.
    pub(super) fn lose_sessions(&mut self) {
        self.notify_rooms(RelayEvent::Gone);
        self.rooms.clear();
    }
}

impl Link {
    fn drop_expired(&mut self) {
        self.pending
            .retain(|_, pending| pending.asked.elapsed() < COMMAND_EXPIRY);
    }
}

impl Pending {
    fn answer(self, response: Response) {
        let command = self.command;
        self.room
            .send(RelayEvent::CommandDone { command, response });
    }
}
