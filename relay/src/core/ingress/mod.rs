//! The sessions of a worker, and the checks of each datagram: connection id → tag → replay → limits → content.

mod idle_scan;
mod session;

use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_protocol::cluster::MediaEndReason;
use confab_protocol::media::uplink::{Uplink, UplinkBody};
use confab_protocol::media::{ConnectionId, HopKey, MediaError};

use super::config::WorkerConfig;
use super::counters::{Counters, DropCause};
use super::crossing::Crossings;
use super::egress::Egress;
use super::frame::CheckedFrame;
use super::home::RoomIndex;
use super::limits::RateLimits;
use super::packet::{MAX_FRAME_AGE, Packet};
use super::path::PathAction;
use super::session::SessionInfo;
use idle_scan::IdleScan;
pub(super) use session::Session;

/// The sessions of a worker.
pub(super) struct Ingress {
    worker: u8,
    workers: usize,
    limits: RateLimits,
    idle_timeout: Duration,
    /// By slot.
    sessions: Vec<Option<Box<Session>>>,
    challenges: ChallengeSource,
    scan: IdleScan,
    counters: Arc<Counters>,
}

/// The fate of a datagram that passed all checks.
pub(super) enum UplinkVerdict {
    /// It needs nothing more.
    Done,
    /// It has a frame for this room.
    Forward(RoomIndex, CheckedFrame),
    /// It is for a session of another worker.
    PassOn(u8),
    /// It ends the session in this slot.
    End(u32, MediaEndReason),
}

/// The outcome of the check of a session.
pub(super) enum Liveness {
    /// It stays.
    Alive,
    /// It has answered nothing for the idle timeout, and has to end.
    Idle,
}

impl Ingress {
    /// No sessions yet. `challenge_key` has to be random.
    pub(super) fn new(
        config: &WorkerConfig,
        now: Instant,
        challenge_key: HopKey,
        crossings: &Crossings,
        counters: &Arc<Counters>,
    ) -> Self {
        Self {
            worker: config.index,
            workers: crossings.workers(),
            limits: config.limits,
            idle_timeout: config.idle_timeout,
            sessions: Vec::new(),
            challenges: ChallengeSource {
                key: challenge_key,
                drawn: 0,
            },
            scan: IdleScan::new(now),
            counters: Arc::clone(counters),
        }
    }

    /// Puts a session into its slot, which is empty.
    pub(super) fn open(&mut self, now: Instant, info: Arc<SessionInfo>, room: RoomIndex) {
        let slot = info.id.slot() as usize;
        if self.sessions.len() <= slot {
            self.sessions.resize_with(slot + 1, || None);
        }
        if let Some(empty) = self.sessions.get_mut(slot) {
            *empty = Some(Box::new(Session::new(now, info, room, &self.limits)));
        }
    }

    /// True if this session, closed or not, is in its slot.
    pub(super) fn has(&self, id: ConnectionId) -> bool {
        let session = self.sessions.get(id.slot() as usize);
        session
            .and_then(Option::as_deref)
            .is_some_and(|session| session.id() == id)
    }

    /// Takes the session out of a slot.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Box<Session>> {
        let mut session = self.sessions.get_mut(slot as usize)?.take()?;
        session.end();
        Some(session)
    }

    /// Checks one datagram, and answers it if it asks for that.
    pub(super) fn examine(
        &mut self,
        now: Instant,
        packet: &Packet,
        egress: &mut Egress,
    ) -> Result<UplinkVerdict, DropCause> {
        let uplink = Uplink::parse(packet.bytes()).map_err(|error| match error {
            MediaError::UnknownType(_) => DropCause::UnknownType,
            _ => DropCause::Malformed,
        })?;
        let id = uplink.connection_id;
        if id.worker() != self.worker {
            return match usize::from(id.worker()) < self.workers {
                true => Ok(UplinkVerdict::PassOn(id.worker())),
                false => Err(DropCause::UnknownConnection),
            };
        }
        let session = self.sessions.get_mut(id.slot() as usize);
        let session = session.and_then(Option::as_deref_mut);
        let session = session.filter(|session| session.is_open(id));
        let session = session.ok_or(DropCause::UnknownConnection)?;
        let is_newest = session.authenticate(&uplink)?;
        session.limit(now, packet.len, &self.limits)?;

        let mut paths = Paths {
            session,
            egress,
            challenges: &mut self.challenges,
            counters: &self.counters,
        };
        match uplink.body {
            UplinkBody::PathResponse { challenge } => {
                paths.take_response(now, packet, challenge)?;
                Ok(UplinkVerdict::Done)
            }
            UplinkBody::Bye => Ok(UplinkVerdict::End(id.slot(), MediaEndReason::Bye)),
            UplinkBody::Audio { level, sframe } => {
                paths.follow(now, packet, is_newest);
                // After the path: an old datagram shows the client's address too.
                if packet.waited > MAX_FRAME_AGE {
                    return Err(DropCause::Late);
                }
                let (frame, was_rounded) = session.check_frame(now, level, sframe)?;
                if was_rounded {
                    self.counters.levels_rounded.add(1);
                }
                if let Some(report) = session.loss_report() {
                    egress.send_loss_report(id.slot(), &report);
                }
                Ok(UplinkVerdict::Forward(session.room(), frame))
            }
            UplinkBody::Reception(counts) => {
                paths.follow(now, packet, is_newest);
                session.take_reception(counts);
                Ok(UplinkVerdict::Done)
            }
            UplinkBody::KeepAlive { echo } => {
                paths.follow(now, packet, is_newest);
                let pong = session.pong(echo);
                if egress.send_pong(id.slot(), packet.from, &pong) {
                    self.counters.pongs.add(1);
                }
                Ok(UplinkVerdict::Done)
            }
        }
    }

    /// The slots whose sessions are to be checked now, if any are: each slot once a second.
    pub(super) fn begin_scan(&mut self, now: Instant) -> Option<impl Iterator<Item = u32> + use<>> {
        let due = self.scan.begin(now)?;
        if let Some(stall) = due.stall {
            for session in self.sessions.iter_mut().flatten() {
                session.extend_by_stall(now, stall);
            }
        }
        Some(due.slots(self.sessions.len()))
    }

    /// Checks the session in a slot: asks its path for an answer if the last one is old, and stops sending to a path that
    /// does not answer.
    pub(super) fn check(&mut self, now: Instant, slot: u32, egress: &mut Egress) -> Liveness {
        let session = self.sessions.get_mut(slot as usize);
        let Some(session) = session.and_then(Option::as_deref_mut) else {
            return Liveness::Alive;
        };
        if session.is_idle(now, self.idle_timeout) {
            return Liveness::Idle;
        }
        session.age_reception();
        let challenges = &mut self.challenges;
        match session.check_path(now, self.idle_timeout, || challenges.draw()) {
            PathAction::None | PathAction::Challenge(_) => {}
            PathAction::Check(path, bytes) => {
                self.counters.path_checks.add(1);
                egress.send_challenge(slot, path, bytes);
            }
            PathAction::Lost => {
                self.counters.paths_lost.add(1);
                egress.set_path(slot, None);
            }
        }
        Liveness::Alive
    }
}

/// What it takes to prove the address of a datagram's sender.
struct Paths<'a> {
    session: &'a mut Session,
    egress: &'a mut Egress,
    challenges: &'a mut ChallengeSource,
    counters: &'a Counters,
}

impl Paths<'_> {
    /// Starts or continues to prove the address of an authentic packet, if it is not the proved one.
    fn follow(&mut self, now: Instant, packet: &Packet, is_newest: bool) {
        let challenges = &mut *self.challenges;
        let slot = self.session.id().slot();
        let action = self
            .session
            .follow_path(now, packet.from, is_newest, || challenges.draw());
        match action {
            PathAction::None | PathAction::Lost => {}
            PathAction::Challenge(bytes) => {
                self.counters.path_challenges.add(1);
                self.egress.send_challenge(slot, packet.from, bytes);
            }
            PathAction::Check(path, bytes) => {
                self.counters.path_checks.add(1);
                self.egress.send_challenge(slot, path, bytes);
            }
        }
    }

    fn take_response(
        &mut self,
        now: Instant,
        packet: &Packet,
        challenge: [u8; 8],
    ) -> Result<(), DropCause> {
        let proof = self.session.prove_path(now, packet.from, challenge);
        if proof.ok_or(DropCause::StrayPathResponse)?.is_new {
            let slot = self.session.id().slot();
            self.egress.set_path(slot, Some(packet.from));
            self.counters.path_moves.add(1);
        }
        Ok(())
    }
}

/// Draws challenge bytes that nobody can guess: SipHash of a counter under a key of its own.
struct ChallengeSource {
    key: HopKey,
    drawn: u64,
}

impl ChallengeSource {
    fn draw(&mut self) -> [u8; 8] {
        self.drawn += 1;
        self.key.tag(&self.drawn.to_be_bytes())
    }
}
