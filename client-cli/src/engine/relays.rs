//! The media sessions of a participation: one, or two while it moves from relay to relay.
//!
//! While it moves, frames go to both, for others may still listen at the old one; whoever hears a frame twice knows it by
//! its key id and counter.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use confab_protocol::control::MediaGrant;
use confab_protocol::media::downlink::ByeReason;
use confab_protocol::media::{AudioLevel, Downlink};

use super::media::{Health, MediaSession, Received, Refused, Transmit};

/// Longest time for which the session that was moved from is still used.
const OVERLAP: Duration = Duration::from_secs(5);

/// Time between the session's end, or its silence, and asking control for a new one: control may have one on its way.
const ASK_AFTER: Duration = Duration::from_secs(1);

/// Silence that a new socket did not end for so long: the session is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

/// Time between two requests for a new session, and between two new sockets.
const ASK_AGAIN: Duration = Duration::from_secs(10);
const REBIND_AGAIN: Duration = Duration::from_secs(4);

/// What became of the media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaEvent {
    /// The relay answers: for the first time, again, or a new one.
    Live,
    /// The relay answers no more.
    Silent,
    /// A new socket may help.
    Rebind,
    /// A new session is needed: ask control to resume the join.
    NeedGrant,
}

/// The sessions.
#[derive(Debug)]
pub struct Relays {
    active: MediaSession,
    /// Becomes the active one with its first pong.
    pending: Option<MediaSession>,
    /// Was the active one; to be let go at this time.
    leaving: Option<(MediaSession, Instant)>,
    is_live: bool,
    silent_since: Option<Instant>,
    next_rebind: Instant,
    ask_at: Option<Instant>,
    events: VecDeque<MediaEvent>,
}

impl Relays {
    /// One session.
    pub fn new(grant: MediaGrant, now: Instant) -> Self {
        Self {
            active: MediaSession::new(grant, now),
            pending: None,
            leaving: None,
            is_live: false,
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

    /// What happened since the last call.
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

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn poll_timeout(&self) -> Instant {
        let sessions = [
            Some(&self.active),
            self.pending.as_ref(),
            self.leaving.as_ref().map(|(session, _)| session),
        ];
        let timers = sessions
            .into_iter()
            .flatten()
            .map(MediaSession::poll_timeout);
        let ends = self.leaving.as_ref().map(|(_, end)| *end);
        timers
            .chain(ends)
            .chain(self.ask_at)
            .min()
            .unwrap_or(self.active.poll_timeout())
    }

    /// Sends keep-alives, lets old sessions go, asks for new ones.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<Transmit>) {
        self.leaving.take_if(|(_, end)| now >= *end);
        for session in self.sessions() {
            session.handle_timeout(now, out);
        }
        self.notice_silence(now);
        if self.active.is_worn_out() && self.pending.is_none() {
            self.ask_at.get_or_insert(now);
        }
        if self.ask_at.is_some_and(|at| now >= at) {
            self.ask_at = Some(now + ASK_AGAIN);
            self.events.push_back(MediaEvent::NeedGrant);
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
        let is_pending = |relays: &Self, index: usize| index == 1 && relays.pending.is_some();
        let mut taken = None;
        for (index, session) in self.sessions().enumerate() {
            match session.receive(now, from, datagram, out) {
                Ok(received) => {
                    taken = Some((index, received));
                    break;
                }
                Err(Refused::Tag) => {}
                Err(replay) => {
                    refused = replay;
                    break;
                }
            }
        }
        let Some((index, received)) = taken else {
            return Err(refused);
        };
        match received {
            Received::Bye(reason) if index == 0 => self.active_ended(reason, now),
            Received::Bye(_) if is_pending(self, index) => {
                self.pending = None;
                self.ask_at.get_or_insert(now + ASK_AFTER);
            }
            Received::Bye(_) => self.leaving = None,
            Received::Audio(_) | Received::Nothing => self.notice_life(now),
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

    /// The active one first, then the pending one.
    fn sessions(&mut self) -> impl Iterator<Item = &mut MediaSession> {
        let leaving = self.leaving.as_mut().map(|(session, _)| session);
        [Some(&mut self.active), self.pending.as_mut(), leaving]
            .into_iter()
            .flatten()
    }

    fn active_ended(&mut self, reason: ByeReason, now: Instant) {
        tracing::debug!(?reason, "the relay ended the media session");
        if self.pending.is_none() {
            self.ask_at.get_or_insert(now + ASK_AFTER);
        }
    }

    fn notice_life(&mut self, now: Instant) {
        if let Some(pending) = self
            .pending
            .take_if(|pending| pending.health() == Health::Live)
        {
            let old = std::mem::replace(&mut self.active, pending);
            self.leaving = Some((old, now + OVERLAP));
            self.is_live = false;
        }
        if self.active.health() == Health::Live && !self.is_live {
            self.is_live = true;
            self.silent_since = None;
            self.ask_at = None;
            self.events.push_back(MediaEvent::Live);
        }
    }

    fn notice_silence(&mut self, now: Instant) {
        if self.active.health() != Health::Silent {
            return;
        }
        let since = match self.silent_since {
            Some(since) => since,
            None => {
                self.silent_since = Some(now);
                self.is_live = false;
                self.next_rebind = now;
                self.events.push_back(MediaEvent::Silent);
                now
            }
        };
        if now >= self.next_rebind {
            self.next_rebind = now + REBIND_AGAIN;
            self.events.push_back(MediaEvent::Rebind);
        }
        if self
            .pending
            .as_ref()
            .is_none_or(|pending| pending.health() == Health::Silent)
        {
            self.ask_at.get_or_insert(since + GIVE_UP_AFTER);
        }
    }
}
