//! Relays at which participants of the room may be, and that this node cannot command: what is to hold for them is not
//! acknowledged.
//!
//! A relay ends a session from which it hears nothing for its idle timeout. So they are gone after that time, counted from the last
//! sign that one of them is there: the moment at which the relay was left, or a later report that it answers. That can
//! go on for as long as somebody says so; after [`GIVEN_UP`] the requests that would have to wait are answered as pending.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use confab_protocol::cluster::MAX_IDLE_TIMEOUT;
use confab_protocol::control::AccountId;
use confab_protocol::media::ConnectionId;

use super::commands::relay_silent;
use super::effect::{Answer, Ticket};
use super::room::{MediaSession, ParticipantState, Room};
use crate::cluster::LinkedRelay;
use crate::store::HomePlace;

/// By so much a relay may count longer than this node, and a last packet be on its way.
const SLACK: Duration = Duration::from_secs(5);
/// What cannot be commanded for so long holds no answer back any more: it is stored, and holds when the relay is back.
pub(super) const GIVEN_UP: Duration = Duration::from_secs(10 * 60);
/// Such relays that are known at most; of more, the latest to be free stand for all.
const MAX_UNREACHED: usize = 8;

/// A relay that could not be commanded when the room was taken, or left.
#[derive(Debug, Clone)]
pub(super) struct Unreached {
    relay: HomePlace,
    /// It ends a session from which it hears nothing for so long.
    idle_timeout: Duration,
    since: Instant,
    /// Nobody is there from then on.
    until: Instant,
    /// Sessions that were there, with their senders; `None`: nobody knows which.
    sessions: Option<HashMap<ConnectionId, u16>>,
}

/// Whether everybody whom something is to hold for can be told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The room's relay is told, and nobody is anywhere else.
    All,
    /// Somebody may be where nobody can be told, for now.
    NotAll,
    /// The same for so long that nobody is to wait for it any more.
    GivenUp,
}

impl Unreached {
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

    /// A client says that the relay answers on this session of `sender`; without a sender nobody knows whose it is.
    fn heard(&mut self, now: Instant, connection_id: ConnectionId, sender: Option<u16>) {
        let is_there = match &self.sessions {
            None => sender.is_none(),
            Some(sessions) => sender.is_some() && sessions.get(&connection_id).copied() == sender,
        };
        if is_there {
            self.until = now + self.idle_timeout + SLACK;
        }
    }
}

impl Room {
    /// Participants may be at the relay that the room's home names, which could not be asked. Its idle timeout is known if it has
    /// ever been linked to this node.
    pub fn look_beyond(&mut self, now: Instant, relay: HomePlace, idle_timeout: Option<Duration>) {
        let idle_timeout = idle_timeout.unwrap_or(MAX_IDLE_TIMEOUT);
        self.add_unreached(Unreached::new(now, relay, idle_timeout, None));
    }

    /// The room leaves a relay that cannot be told so; to be called before anybody is moved.
    pub(super) fn part(&mut self, now: Instant, relay: &LinkedRelay) {
        let session = |person: &ParticipantState| match person.media {
            MediaSession::Open(id) => Some((id, person.participant.sender)),
            MediaSession::Waiting | MediaSession::Opening => None,
        };
        let sessions = self.participants.values().filter_map(session).collect();
        let place = HomePlace {
            relay: relay.name.clone(),
            boot: relay.boot,
            placement: self.fence.placement,
        };
        let parted = Unreached::new(now, place, relay.idle_timeout, Some(sessions));
        self.add_unreached(parted);
    }

    fn add_unreached(&mut self, unreached: Unreached) {
        self.unreached.push(unreached);
        if self.unreached.len() > MAX_UNREACHED {
            let first = self.unreached.iter().map(|known| known.until).enumerate();
            if let Some((at, _)) = first.min_by_key(|(_, until)| *until) {
                self.unreached.remove(at);
            }
        }
    }

    /// A client says that a relay answers on a media session of its own.
    pub(super) fn heard_unreached(
        &mut self,
        now: Instant,
        connection_id: ConnectionId,
        sender: Option<u16>,
    ) {
        for unreached in &mut self.unreached {
            unreached.heard(now, connection_id, sender);
        }
    }

    /// That run of the relay has closed all that it had of the room.
    pub(super) fn forget_unreached(&mut self, relay: &LinkedRelay) {
        self.unreached
            .retain(|known| (&known.relay.relay, known.relay.boot) != (&relay.name, relay.boot));
    }

    /// Everybody who was in the room when it parted from a relay is somewhere else.
    pub(super) fn all_have_parted(&mut self) {
        self.unreached.retain(|known| known.sessions.is_none());
    }

    pub(super) fn has_parted(&self) -> bool {
        self.unreached.iter().any(|known| known.sessions.is_some())
    }

    pub(super) fn expire_unreached(&mut self, now: Instant) {
        self.unreached.retain(|known| now < known.until);
    }

    pub(super) fn unreached_deadline(&self) -> Option<Instant> {
        self.unreached.iter().map(|known| known.until).min()
    }

    /// Whether what is to hold for the account can be told wherever it may be.
    pub(super) fn reach(&self, now: Instant, account: AccountId) -> Reach {
        let without_place = self
            .homeless_since
            .filter(|_| self.place.is_none() && self.may_be_there(account));
        let unreached = self.unreached.iter().map(|known| known.since);
        match unreached.chain(without_place).min() {
            None => Reach::All,
            Some(since) if now.saturating_duration_since(since) < GIVEN_UP => Reach::NotAll,
            Some(_) => Reach::GivenUp,
        }
    }

    /// A command was not obeyed that a request waits for. A relay that has been out of reach for long is not waited for.
    pub(super) fn fail_waiting(&mut self, now: Instant, ticket: Ticket) {
        if self.waiting.remove(&ticket).is_some() {
            let silent = self.linkless_since();
            let answer = match silent.map(|since| now.saturating_duration_since(since)) {
                Some(silent) if silent >= GIVEN_UP => Ok(Answer::Pending),
                _ => Err(relay_silent()),
            };
            self.answer(ticket, answer);
        }
    }
}
