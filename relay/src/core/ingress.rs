//! What a datagram has to pass: connection id → tag → replay → limits → what it says.

use std::time::Instant;

use confab_protocol::cluster::MediaEndReason;
use confab_protocol::media::downlink::Pong;
use confab_protocol::media::uplink::{Uplink, UplinkBody};
use confab_protocol::media::{AudioLevel, MediaError, ReplayError, SFRAME_TAG_LEN, SframeHeader};

use super::counters::{Counters, DropCause};
use super::crossing::{Crossing, Frame};
use super::fanout::MAX_WAIT;
use super::loudest::Speaker;
use super::packet::Packet;
use super::path::PathAction;
use super::replies::Replies;
use super::session::{Seat, Session};
use super::table::Outbound;
use super::worker::{ChallengeSource, Worker};

impl Worker {
    /// Takes one datagram. What it gives rise to waits for [`end_batch`](Self::end_batch) and
    /// [`transmit`](Self::transmit). One that fails a check is counted and never answered.
    pub fn receive(&mut self, now: Instant, packet: Box<Packet>) {
        self.counters.datagrams_in.add(1);
        self.counters.bytes_in.add(packet.len as u64);
        self.take(now, packet);
    }

    /// Takes a datagram, whichever socket it came to.
    pub(super) fn take(&mut self, now: Instant, packet: Box<Packet>) {
        match self.examine(now, &packet) {
            Ok(Verdict::Forward(place, frame)) => self.bring_home(now, packet, place, frame),
            Ok(Verdict::PassOn(worker)) => {
                self.counters.misdirected.add(1);
                self.cross(worker, Crossing::Datagram(packet));
            }
            Ok(Verdict::Done) => self.give(packet),
            Err(cause) => {
                self.counters.count_drop(cause);
                self.give(packet);
            }
        }
    }

    fn examine(&mut self, now: Instant, packet: &Packet) -> Result<Verdict, DropCause> {
        let uplink = Uplink::parse(packet.bytes()).map_err(|error| match error {
            MediaError::UnknownType(_) => DropCause::UnknownType,
            _ => DropCause::Malformed,
        })?;
        let id = uplink.connection_id;
        if id.worker() != self.config.index {
            let is_one = usize::from(id.worker()) < self.crossings.workers();
            return match is_one {
                true => Ok(Verdict::PassOn(id.worker())),
                false => Err(DropCause::UnknownConnection),
            };
        }
        let (session, outbound) = self.sessions.open(id).ok_or(DropCause::UnknownConnection)?;
        if !uplink.is_authentic(&session.info.uplink_key) {
            return Err(DropCause::BadTag);
        }
        let newest = session.replay.highest() < Some(uplink.packet_number.into());
        let committed = session.replay.commit(uplink.packet_number.into());
        committed.map_err(|error| match error {
            ReplayError::Seen => DropCause::Replayed,
            // Packet numbers are far below the highest number of a window.
            ReplayError::TooOld | ReplayError::TooHigh => DropCause::TooOld,
        })?;
        session.received = session.received.wrapping_add(1);
        let passed = session.limit.fill(now, &self.config.limits);
        session.loudness.pass(passed);
        if !session.limit.take(packet.len) {
            return Err(DropCause::RateLimited);
        }

        let mut inside = Inside {
            session,
            outbound,
            replies: &mut self.replies,
            challenges: &mut self.challenges,
            counters: &self.counters,
        };
        match uplink.body {
            UplinkBody::PathResponse { challenge } => {
                inside.take_path_response(now, packet, challenge)
            }
            UplinkBody::Bye => {
                self.end(id.slot(), MediaEndReason::Bye);
                Ok(Verdict::Done)
            }
            UplinkBody::Audio { level, sframe } => {
                inside.follow_path(now, packet, newest);
                // Here and not before: it still shows where the client is.
                if packet.waited > MAX_WAIT {
                    return Err(DropCause::Late);
                }
                inside.check_frame(level, sframe)
            }
            UplinkBody::KeepAlive { echo } => {
                inside.follow_path(now, packet, newest);
                inside.answer_keep_alive(packet, echo);
                Ok(Verdict::Done)
            }
        }
    }
}

/// A datagram's session, and what its answers take.
struct Inside<'a> {
    session: &'a mut Session,
    outbound: &'a mut Outbound,
    replies: &'a mut Replies,
    challenges: &'a mut ChallengeSource,
    counters: &'a Counters,
}

impl Inside<'_> {
    fn check_frame(&mut self, level: AudioLevel, sframe: &[u8]) -> Result<Verdict, DropCause> {
        let info = &self.session.info;
        let (header, length) = SframeHeader::parse(sframe).map_err(|_| DropCause::BadFrame)?;
        if sframe.len() < length + SFRAME_TAG_LEN {
            return Err(DropCause::BadFrame);
        }
        if !info.leaves.allow(header.key_id) {
            return Err(DropCause::WrongLeaf);
        }
        if !info.may_speak() {
            return Err(DropCause::MayNotSpeak);
        }
        let (level, was_rounded) = level.in_steps();
        if was_rounded {
            self.counters.levels_rounded.add(1);
        }
        let speaker = Speaker {
            seat: Seat::from(info.id),
            sender: info.sender,
            account: info.account_label,
            claim: self.session.loudness.hear(level),
        };
        let frame = Frame { speaker, level };
        Ok(Verdict::Forward(self.session.place, frame))
    }

    /// Starts or goes on proving the address that a packet came from, if it is a new one.
    fn follow_path(&mut self, now: Instant, packet: &Packet, newest: bool) {
        let challenges = &mut *self.challenges;
        let path = &mut self.session.path;
        match path.on_packet(now, packet.from, newest, || challenges.draw()) {
            PathAction::None | PathAction::Lost => {}
            PathAction::Challenge(bytes) => {
                self.counters.path_challenges.add(1);
                self.outbound.challenge(packet.from, bytes, self.replies);
            }
            PathAction::Check(path, bytes) => {
                self.counters.path_checks.add(1);
                self.outbound.challenge(path, bytes, self.replies);
            }
        }
    }

    fn take_path_response(
        &mut self,
        now: Instant,
        packet: &Packet,
        challenge: [u8; 8],
    ) -> Result<Verdict, DropCause> {
        let proof = self.session.path.on_response(now, packet.from, challenge);
        let proof = proof.ok_or(DropCause::StrayPathResponse)?;
        self.session.alive = self.session.alive.max(proof.at);
        if proof.is_new {
            self.session.info.set_seen();
            self.outbound.path = Some(packet.from);
            self.counters.path_moves.add(1);
        }
        Ok(Verdict::Done)
    }

    /// Answers on the session's path alone: an address that is not proved gets a challenge, never more bytes.
    fn answer_keep_alive(&mut self, packet: &Packet, echo: [u8; 8]) {
        if self.outbound.path != Some(packet.from) {
            return;
        }
        let highest = self.session.replay.highest().unwrap_or(0);
        let pong = Pong {
            echo,
            highest: u32::try_from(highest).unwrap_or(u32::MAX),
            received: self.session.received,
        };
        if let Some(number) = self.outbound.take_number() {
            self.counters.pongs.add(1);
            let datagram = pong.encode(number, &self.outbound.key);
            self.replies.push(packet.from, &datagram);
        }
    }
}

/// What is to become of a datagram that passed.
enum Verdict {
    /// Nothing more.
    Done,
    /// It holds a frame for the room at this place.
    Forward(usize, Frame),
    /// It is for a session of another worker.
    PassOn(u8),
}
