//! Relays that the room has left and that may still have sessions of its participants.
//!
//! * The relay of an **overlap**: the room moved on from it in order. It keeps its sessions until every participant has been seen at the
//!   new relay, and is then told to close them.
//! * **Unreachable** relays: this node left them without a link, or took the room over without one. Moderation is not acknowledged while
//!   participants may be there.
//!
//! A relay closes a session that is silent for its idle timeout. An unreachable relay is therefore empty one idle timeout after the last
//! sign of a session: the moment the room left, or a later report of a client that the relay answers. Reports can extend that without
//! end, so requests that wait longer than [`GIVEN_UP`] are answered as pending.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use confab_protocol::cluster::{BootId, MAX_IDLE_TIMEOUT};
use confab_protocol::media::ConnectionId;

use crate::cluster::LinkedRelay;
use crate::store::HomePlace;

/// The longest overlap. Participants that have not come to the new relay by then lose their session.
const OVERLAP: Duration = Duration::from_secs(5);
/// From the moment every participant has been seen until the overlap ends: packets in flight still arrive.
const LINGER: Duration = Duration::from_millis(250);
/// Time between two listings of the sessions at the new relay.
const LIST_INTERVAL: Duration = Duration::from_millis(100);
/// Allowance for clock rates and for a last packet in flight.
const SLACK: Duration = Duration::from_secs(5);
/// Requests that would wait longer than this for a relay are answered as pending: the change is stored, and holds when the relay is back.
pub(super) const GIVEN_UP: Duration = Duration::from_secs(10 * 60);
/// Unreachable relays that a room remembers. Beyond that it forgets the relay that is empty first.
const MAX_UNREACHABLE: usize = 8;

/// The relays that the room has left.
#[derive(Default)]
pub(super) struct FormerRelays {
    overlap: Option<Overlap>,
    unreachable: Vec<Unreachable>,
    /// When to list the sessions at the room's relay next; `None` while a listing is under way or not needed.
    list_at: Option<Instant>,
}

struct Overlap {
    relay: LinkedRelay,
    until: Instant,
}

#[derive(Debug, Clone)]
struct Unreachable {
    relay: HomePlace,
    idle_timeout: Duration,
    since: Instant,
    /// The relay is empty from then on.
    until: Instant,
    /// Sessions of participants there, with their senders; `None` if they are not known.
    sessions: Option<HashMap<ConnectionId, u16>>,
}

impl Unreachable {
    fn new(
        now: Instant,
        relay: HomePlace,
        idle_timeout: Duration,
        sessions: Option<HashMap<ConnectionId, u16>>,
    ) -> Self {
        Self {
            relay,
            idle_timeout,
            since: now,
            until: now + idle_timeout + SLACK,
            sessions,
        }
    }

    fn session_answers(&mut self, now: Instant, connection_id: ConnectionId, sender: Option<u16>) {
        let is_there = match &self.sessions {
            None => sender.is_none(),
            Some(sessions) => sender.is_some() && sessions.get(&connection_id).copied() == sender,
        };
        if is_there {
            self.until = now + self.idle_timeout + SLACK;
        }
    }
}

impl FormerRelays {
    // ---- Overlap

    /// The room moves on from `relay`, which keeps its sessions for a while.
    pub(super) fn begin_overlap(&mut self, now: Instant, relay: LinkedRelay) {
        let until = now + OVERLAP;
        self.overlap = Some(Overlap { relay, until });
    }

    /// The relay of the overlap.
    pub(super) fn overlapping(&self) -> Option<&LinkedRelay> {
        self.overlap.as_ref().map(|overlap| &overlap.relay)
    }

    /// Ends the overlap and returns its relay, which still has to close the room.
    pub(super) fn end_overlap(&mut self) -> Option<LinkedRelay> {
        self.overlap.take().map(|overlap| overlap.relay)
    }

    /// Ends the overlap if its relay has this boot id.
    pub(super) fn end_overlap_of(&mut self, boot: BootId) -> Option<LinkedRelay> {
        let overlap = self.overlap.take_if(|overlap| overlap.relay.boot == boot);
        overlap.map(|overlap| overlap.relay)
    }

    /// Whether the overlap has to end now.
    pub(super) fn is_overlap_over(&self, now: Instant) -> bool {
        self.overlap
            .as_ref()
            .is_some_and(|overlap| overlap.until <= now)
    }

    // ---- Unreachable relays

    /// The room was taken over without a link to the relay that its home names. `idle_timeout` is known if the relay has been linked to this
    /// node before.
    pub(super) fn take_over_without(
        &mut self,
        now: Instant,
        relay: HomePlace,
        idle_timeout: Option<Duration>,
    ) {
        let idle_timeout = idle_timeout.unwrap_or(MAX_IDLE_TIMEOUT);
        self.add(Unreachable::new(now, relay, idle_timeout, None));
    }

    /// The room leaves a relay without a link, where participants have these sessions.
    pub(super) fn leave_unreachable(
        &mut self,
        now: Instant,
        relay: &LinkedRelay,
        placement: u64,
        sessions: HashMap<ConnectionId, u16>,
    ) {
        let place = HomePlace {
            relay: relay.name.clone(),
            boot: relay.boot,
            placement,
        };
        let sessions = Some(sessions);
        self.add(Unreachable::new(now, place, relay.idle_timeout, sessions));
    }

    fn add(&mut self, relay: Unreachable) {
        self.unreachable.push(relay);
        if self.unreachable.len() > MAX_UNREACHABLE {
            let ends = self.unreachable.iter().map(|relay| relay.until).enumerate();
            if let Some((first, _)) = ends.min_by_key(|(_, until)| *until) {
                self.unreachable.remove(first);
            }
        }
    }

    /// A client reports that a relay answers on this session. `sender` is the participant that owns the session, if the client has proved
    /// it.
    pub(super) fn session_answers(
        &mut self,
        now: Instant,
        connection_id: ConnectionId,
        sender: Option<u16>,
    ) {
        for relay in &mut self.unreachable {
            relay.session_answers(now, connection_id, sender);
        }
    }

    /// This run of the relay has closed all sessions of the room.
    pub(super) fn closed(&mut self, relay: &LinkedRelay) {
        self.unreachable
            .retain(|known| (&known.relay.relay, known.relay.boot) != (&relay.name, relay.boot));
    }

    /// Forgets unreachable relays that are empty by now.
    pub(super) fn forget_empty(&mut self, now: Instant) {
        self.unreachable.retain(|relay| now < relay.until);
    }

    /// When the first of the unreachable relays became so.
    pub(super) fn unreachable_since(&self) -> Option<Instant> {
        self.unreachable.iter().map(|relay| relay.since).min()
    }

    pub(super) fn has_unreachable(&self) -> bool {
        !self.unreachable.is_empty()
    }

    /// Moves the unreachable relays to the room's successor.
    pub(super) fn hand_over(&mut self) -> Self {
        Self {
            unreachable: std::mem::take(&mut self.unreachable),
            ..Self::default()
        }
    }

    // ---- Participants at the new relay

    /// Whether participants may still use a former relay: then the sessions at the new relay are listed until every participant is there.
    pub(super) fn awaits_participants(&self) -> bool {
        self.overlap.is_some()
            || self
                .unreachable
                .iter()
                .any(|relay| relay.sessions.is_some())
    }

    /// Every participant has been seen at the new relay.
    pub(super) fn all_arrived(&mut self, now: Instant) {
        self.unreachable.retain(|relay| relay.sessions.is_none());
        if let Some(overlap) = &mut self.overlap {
            overlap.until = overlap.until.min(now + LINGER);
        }
    }

    /// Schedules the next listing, if one is needed.
    pub(super) fn list_later(&mut self, now: Instant) {
        if self.awaits_participants() {
            self.list_at = Some(now + LIST_INTERVAL);
        }
    }

    /// Whether a listing is due; it counts as under way then.
    pub(super) fn take_due_listing(&mut self, now: Instant) -> bool {
        self.list_at.take_if(|at| *at <= now).is_some()
    }

    /// The earliest time at which something here is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let overlap = self.overlap.as_ref().map(|overlap| overlap.until);
        let unreachable = self.unreachable.iter().map(|relay| relay.until).min();
        let deadlines = [overlap, unreachable, self.list_at];
        deadlines.into_iter().flatten().min()
    }
}
