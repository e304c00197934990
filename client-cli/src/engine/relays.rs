//! The media sessions of a participation: one, or several while it moves from relay to relay.
//!
//! While it moves, frames go to all relays, for other participants may still be at an old one. A receiver recognizes a
//! frame that it gets twice by its key id and counter.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use confab_protocol::control::MediaGrant;
use confab_protocol::media::downlink::ByeReason;
use confab_protocol::media::{AudioLevel, ConnectionId, Downlink};

use super::liveness::Health;
use super::media::{MediaSession, Received, Refused, Transmit};

/// Longest time for which a session that was moved from is still used.
const OVERLAP: Duration = Duration::from_secs(5);

/// Sessions that were moved from and are still used: more than one when a room moves on while it moves.
const MAX_LEAVING: usize = 2;

/// Time between the session's end, or its silence, and asking control for a new one: control may have one on its way.
const ASK_AFTER: Duration = Duration::from_secs(1);

/// Silence of this length: the session is given up. Control, which was told of it, has mostly moved the room by then.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3);

/// Silence of this length: a new socket may help. Not before, for a new address has to be proved to the relay first, and
/// a socket that is bound to no address follows the machine's by itself.
const REBIND_AFTER: Duration = Duration::from_secs(2);

/// Time between two requests for a new session, and between two new sockets.
const ASK_AGAIN: Duration = Duration::from_secs(10);
const REBIND_AGAIN: Duration = Duration::from_secs(4);

/// A change of the media path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaEvent {
    /// The relay answers: for the first time, again, or a new one.
    Live,
    /// The relay answers no more.
    Silent,
    /// The relay has ended the session, and control has given no other.
    Gone,
    /// A new socket may help.
    Rebind,
    /// A new session is needed: ask control to resume the join.
    NeedGrant,
    /// To be told to control: whether the relay answers on the session.
    Report {
        connection_id: ConnectionId,
        alive: bool,
    },
}

#[derive(Debug)]
pub struct Relays {
    active: MediaSession,
    /// Becomes the active one with its first pong.
    pending: Option<MediaSession>,
    /// Were active once, the newest last; to be let go at these times.
    leaving: VecDeque<(MediaSession, Instant)>,
    is_live: bool,
    /// Whether [`MediaEvent::Gone`] was said since it was live.
    is_gone: bool,
    silent_since: Option<Instant>,
    next_rebind: Instant,
    ask_at: Option<Instant>,
    events: VecDeque<MediaEvent>,
}

impl Relays {
    pub fn new(grant: MediaGrant, now: Instant) -> Self {
        Self {
            active: MediaSession::new(grant, now),
            pending: None,
            leaving: VecDeque::new(),
            is_live: false,
            is_gone: false,
            silent_since: None,
            next_rebind: now,
            ask_at: None,
            events: VecDeque::new(),
        }
    }

    /// The session that is used.
    pub fn active(&self) -> &MediaSession {
        &self.active
    }

    /// The session to be kept when the join is taken up again: none unless its relay answers.
    pub fn live(&self, now: Instant) -> Option<ConnectionId> {
        self.active
            .is_answering(now)
            .then_some(self.active.grant().connection_id)
    }

    /// True while the same frames may come by more than one relay.
    pub fn is_moving(&self) -> bool {
        self.pending.is_some() || !self.leaving.is_empty()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<MediaEvent> {
        self.events.pop_front()
    }

    /// Goes to a new session as soon as its relay answers. A grant older than what is there is not looked at.
    pub fn move_to(&mut self, grant: MediaGrant, now: Instant) {
        let newest = self.pending.as_ref().unwrap_or(&self.active).grant();
        let is_known =
            newest.connection_id == grant.connection_id && newest.uplink_key == grant.uplink_key;
        if is_known || (grant.era, grant.placement) < (newest.era, newest.placement) {
            return;
        }
        self.ask_at = None;
        self.pending = Some(MediaSession::new(grant, now));
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called; `None` when nothing is due any more.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let leaving = self.leaving.iter().map(|(session, _)| session);
        let timers = [&self.active]
            .into_iter()
            .chain(&self.pending)
            .chain(leaving)
            .filter_map(MediaSession::poll_timeout);
        let ends = self.leaving.iter().map(|(_, end)| *end);
        timers.chain(ends).chain(self.ask_at).min()
    }

    /// Sends keep-alives, lets old sessions go, asks for new ones.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<Transmit>) {
        self.leaving.retain(|(_, end)| now < *end);
        for session in self.sessions() {
            session.handle_timeout(now, out);
        }
        self.report_probes();
        self.notice_silence(now);
        if self.active.is_worn_out() && self.pending.is_none() {
            self.ask_at.get_or_insert(now);
        }
        if self.ask_at.is_some_and(|at| now >= at) {
            self.ask_at = Some(now + ASK_AGAIN);
            let is_over = self.active.health() == Health::Over && self.pending.is_none();
            if is_over && !self.is_gone {
                self.is_gone = true;
                self.events.push_back(MediaEvent::Gone);
            }
            self.events.push_back(MediaEvent::NeedGrant);
        }
    }

    /// Control asks whether the relay answers on a session.
    pub fn probe(
        &mut self,
        connection_id: ConnectionId,
        now: Instant,
        out: &mut VecDeque<Transmit>,
    ) {
        let known = self
            .sessions()
            .find(|session| session.grant().connection_id == connection_id);
        match known {
            Some(session) => session.probe(now, out),
            None => self.events.push_back(MediaEvent::Report {
                connection_id,
                alive: false,
            }),
        }
        self.report_probes();
    }

    /// The machine slept: asks every relay at once whether it is still there.
    pub fn resume_after_sleep(&mut self, now: Instant, out: &mut VecDeque<Transmit>) {
        for session in self.sessions() {
            session.resume_after_sleep(now, out);
        }
    }

    /// The local address or the route changed.
    pub fn route_changed(&mut self, now: Instant, out: &mut VecDeque<Transmit>) {
        for session in self.sessions() {
            session.route_changed(now, out);
        }
    }

    /// Judges a datagram by the keys of each session.
    pub fn receive<'a>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &Downlink<'a>,
        out: &mut VecDeque<Transmit>,
    ) -> Result<Received<'a>, Refused> {
        let mut refused = Refused::Tag;
        let mut taken = None;
        for session in self.sessions() {
            match session.receive(now, from, datagram, out) {
                Ok(received) => {
                    taken = Some((session.grant().connection_id, received));
                    break;
                }
                Err(Refused::Tag) => {}
                Err(replay) => {
                    refused = replay;
                    break;
                }
            }
        }
        let Some((by, received)) = taken else {
            return Err(refused);
        };
        self.report_probes();
        match received {
            Received::Bye(reason) => self.ended(by, reason, now),
            Received::Audio(_) | Received::Loss(_) | Received::Nothing => self.notice_life(now),
        }
        Ok(received)
    }

    /// Sends a frame on every session whose relay has answered; false when there is none.
    pub fn send_audio(
        &mut self,
        now: Instant,
        level: AudioLevel,
        sframe: &[u8],
        out: &mut VecDeque<Transmit>,
    ) -> bool {
        let mut sent = false;
        for session in self.sessions() {
            sent |= session.send_audio(now, level, sframe, out);
        }
        sent
    }

    /// Says goodbye on every session.
    pub fn bye(&mut self, out: &mut VecDeque<Transmit>) {
        for session in self.sessions() {
            session.bye(out);
        }
    }

    fn sessions(&mut self) -> impl Iterator<Item = &mut MediaSession> {
        let leaving = self.leaving.iter_mut().map(|(session, _)| session);
        [&mut self.active]
            .into_iter()
            .chain(&mut self.pending)
            .chain(leaving)
    }

    fn report_probes(&mut self) {
        let found: Vec<_> = self
            .sessions()
            .filter_map(|session| {
                let connection_id = session.grant().connection_id;
                let alive = session.take_probed()?;
                Some(MediaEvent::Report {
                    connection_id,
                    alive,
                })
            })
            .collect();
        self.events.extend(found);
    }

    /// A relay ended a session: of those that were left nobody needs to hear.
    fn ended(&mut self, session: ConnectionId, reason: ByeReason, now: Instant) {
        tracing::debug!(?reason, "a relay ended a media session");
        let of = |grant: &MediaGrant| grant.connection_id == session;
        self.leaving.retain(|(session, _)| !of(session.grant()));
        self.pending.take_if(|pending| of(pending.grant()));
        if self.active.health() == Health::Over && self.pending.is_none() {
            self.is_live = false;
            self.ask_at.get_or_insert(now + ASK_AFTER);
        }
    }

    fn notice_life(&mut self, now: Instant) {
        if let Some(pending) = self
            .pending
            .take_if(|pending| pending.health() == Health::Live)
        {
            let old = std::mem::replace(&mut self.active, pending);
            if self.leaving.len() == MAX_LEAVING {
                self.leaving.pop_front();
            }
            if old.health() != Health::Over {
                self.leaving.push_back((old, now + OVERLAP));
            }
            self.is_live = false;
        }
        if self.active.health() == Health::Live && !self.is_live {
            self.is_live = true;
            tracing::debug!("the relay answers: voice is connected");
            self.is_gone = false;
            self.silent_since = None;
            self.ask_at = None;
            self.events.push_back(MediaEvent::Live);
        }
    }

    fn notice_silence(&mut self, now: Instant) {
        let pending = self.pending.as_ref().map(MediaSession::health);
        if self.active.health() == Health::Over && pending == Some(Health::Silent) {
            self.ask_at.get_or_insert(now);
        }
        if self.active.health() != Health::Silent {
            return;
        }
        let since = match self.silent_since {
            Some(since) => since,
            None => {
                self.silent_since = Some(now);
                self.is_live = false;
                self.next_rebind = now + REBIND_AFTER;
                self.events.push_back(MediaEvent::Silent);
                self.events.push_back(MediaEvent::Report {
                    connection_id: self.active.grant().connection_id,
                    alive: false,
                });
                now
            }
        };
        if now >= self.next_rebind {
            self.next_rebind = now + REBIND_AGAIN;
            self.events.push_back(MediaEvent::Rebind);
        }
        if pending.is_none_or(|health| health == Health::Silent) {
            self.ask_at.get_or_insert(since + GIVE_UP_AFTER);
        }
    }
}
