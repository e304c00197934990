//! What a datagram has to pass: connection id → tag → replay → limits → what it says.

use std::time::Instant;

use confab_protocol::cluster::MediaEndReason;
use confab_protocol::media::downlink::{self, Pong};
use confab_protocol::media::uplink::{AUDIO_HEADER_LEN, Uplink, UplinkBody};
use confab_protocol::media::{AudioLevel, ReplayError, SFRAME_TAG_LEN, SframeHeader, TAG_LEN};

use super::counters::DropCause;
use super::crossing::{Crossing, Frame};
use super::fanout::MAX_WAIT;
use super::packet::Packet;
use super::path::PathAction;
use super::session::Seat;
use super::worker::Worker;

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
        let uplink = Uplink::parse(packet.bytes()).map_err(|_| DropCause::Malformed)?;
        let id = uplink.connection_id;
        if id.worker() != self.config.index {
            let is_one = usize::from(id.worker()) < self.crossings.workers();
            return match is_one {
                true => Ok(Verdict::PassOn(id.worker())),
                false => Err(DropCause::UnknownConnection),
            };
        }
        let limits = self.config.limits;
        let session = self.session(id).ok_or(DropCause::UnknownConnection)?;
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
        session.last_heard = now;
        session.received = session.received.wrapping_add(1);
        if !session.limit.take(now, packet.len, &limits) {
            return Err(DropCause::RateLimited);
        }

        if let UplinkBody::PathResponse { challenge } = uplink.body {
            return self.take_path_response(packet, id.slot(), challenge);
        }
        if let UplinkBody::Bye = uplink.body {
            self.end(id.slot(), MediaEndReason::Bye);
            return Ok(Verdict::Done);
        }
        self.follow_path(now, packet, id.slot(), newest);
        match uplink.body {
            // Here and not before: it still shows that the session lives, and where.
            UplinkBody::Audio { .. } if packet.waited > MAX_WAIT => Err(DropCause::Late),
            UplinkBody::Audio { level, sframe } => self.check_frame(id.slot(), level, sframe),
            UplinkBody::KeepAlive { echo } => {
                self.answer_keep_alive(packet, id.slot(), echo);
                Ok(Verdict::Done)
            }
            UplinkBody::PathResponse { .. } | UplinkBody::Bye => Ok(Verdict::Done),
        }
    }

    fn check_frame(
        &mut self,
        slot: u32,
        level: AudioLevel,
        sframe: &[u8],
    ) -> Result<Verdict, DropCause> {
        let session = self.sessions[slot as usize]
            .as_mut()
            .expect("the session was found by this slot a moment ago");
        let (header, length) = SframeHeader::parse(sframe).map_err(|_| DropCause::Malformed)?;
        if sframe.len() < length + SFRAME_TAG_LEN {
            return Err(DropCause::Malformed);
        }
        if !session.info.leaves.allow(header.key_id) {
            return Err(DropCause::WrongLeaf);
        }
        if !session.info.may_speak() {
            return Err(DropCause::MayNotSpeak);
        }
        let frame = Frame {
            seat: Seat::from(session.info.id),
            sender: session.info.sender,
            level,
            rank: session.loudness.hear(level),
        };
        Ok(Verdict::Forward(session.place, frame))
    }

    /// Starts or goes on proving the address that a packet came from, if it is a new one.
    fn follow_path(&mut self, now: Instant, packet: &Packet, slot: u32, newest: bool) {
        let session = self.sessions[slot as usize]
            .as_mut()
            .expect("the session was found by this slot a moment ago");
        let challenges = &mut self.challenges;
        let action = session
            .path
            .on_packet(now, packet.from, newest, || challenges.draw());
        if let PathAction::Challenge(bytes) = action {
            let outbound = &mut self.outbound[slot as usize];
            let datagram = downlink::path_challenge(bytes, outbound.next, &outbound.key);
            outbound.next += 1;
            self.counters.path_challenges.add(1);
            self.reply(packet.from, &datagram);
        }
    }

    fn take_path_response(
        &mut self,
        packet: &Packet,
        slot: u32,
        challenge: [u8; 8],
    ) -> Result<Verdict, DropCause> {
        let session = self.sessions[slot as usize]
            .as_mut()
            .expect("the session was found by this slot a moment ago");
        if !session.path.on_response(packet.from, challenge) {
            return Err(DropCause::StrayPathResponse);
        }
        session.info.set_seen();
        self.outbound[slot as usize].path = Some(packet.from);
        self.counters.path_moves.add(1);
        Ok(Verdict::Done)
    }

    /// Answers on the session's path alone: an address that is not proved gets a challenge, never more bytes.
    fn answer_keep_alive(&mut self, packet: &Packet, slot: u32, echo: [u8; 8]) {
        let session = self.sessions[slot as usize]
            .as_ref()
            .expect("the session was found by this slot a moment ago");
        if session.path.validated() != Some(packet.from) {
            return;
        }
        let highest = session.replay.highest().unwrap_or(0);
        let pong = Pong {
            echo,
            highest: u32::try_from(highest).unwrap_or(u32::MAX),
            received: session.received,
        };
        let outbound = &mut self.outbound[slot as usize];
        let datagram = pong.encode(outbound.next, &outbound.key);
        outbound.next += 1;
        self.counters.pongs.add(1);
        self.reply(packet.from, &datagram);
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

impl Packet {
    /// Where the SFrame of an audio datagram lies in the buffer.
    pub(super) fn sframe_range(&self) -> std::ops::Range<usize> {
        AUDIO_HEADER_LEN..self.len - TAG_LEN
    }
}
