//! The rooms of a worker: which speakers are forwarded, and which frames share a datagram.
//!
//! Most rooms are on one worker, which is their home. A frame of a larger room goes from the worker of its session to the
//! room's home, and from there to all workers of the room.

mod local_rooms;
mod open_bundle;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_protocol::media::AudioLevel;
use confab_protocol::media::downlink::Record;

use super::bundle::Piece;
use super::config::WorkerConfig;
use super::counters::{Counters, DropCause};
use super::crossing::Crossing;
use super::egress::Egress;
use super::frame::CheckedFrame;
use super::loudest::Admission;
use super::packet::Packet;
use super::room::Room;
use super::session::SessionSlot;
use local_rooms::LocalRooms;
pub(super) use local_rooms::RoomIndex;
use open_bundle::OpenBundle;

/// The rooms of a worker.
pub(super) struct Home {
    worker: u8,
    speakers: usize,
    /// Open bundles are closed early while fewer receive buffers than this are free.
    low_buffers: usize,
    rooms: LocalRooms,
    /// How long a bundle waits for more frames.
    window: Duration,
    /// Rooms whose bundle may be open, with the time at which it closes; the oldest first.
    open_rooms: VecDeque<(Instant, RoomIndex)>,
    counters: Arc<Counters>,
}

impl Home {
    pub(super) fn new(config: &WorkerConfig, counters: &Arc<Counters>) -> Self {
        Self {
            worker: config.index,
            speakers: config.speakers,
            low_buffers: config.buffers / 4,
            rooms: LocalRooms::default(),
            window: Duration::ZERO,
            open_rooms: VecDeque::new(),
            counters: Arc::clone(counters),
        }
    }

    /// Keeps a room here, for one session of it or because this worker is its home.
    pub(super) fn hold(&mut self, room: &Arc<Room>) -> RoomIndex {
        self.rooms.hold(room)
    }

    /// The room has closed: this worker is its home no longer.
    pub(super) fn unhost(&mut self, room: &Arc<Room>) {
        if let Some(index) = self.rooms.find(room) {
            self.rooms.release(index);
        }
    }

    /// A session of the room has ended here.
    pub(super) fn remove_speaker(&mut self, room: RoomIndex, session: SessionSlot) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.loudest.forget(session);
        }
        self.rooms.release(room);
    }

    /// Takes a frame of one of this worker's sessions: forwards it, or hands it to the room's home.
    pub(super) fn take_frame(
        &mut self,
        now: Instant,
        packet: Box<Packet>,
        room: RoomIndex,
        frame: CheckedFrame,
        egress: &mut Egress,
    ) {
        let shared = self.rooms.get(room).and_then(|room| room.shared.as_ref());
        let Some(shared) = shared else {
            egress.release(packet);
            return;
        };
        if shared.home == self.worker {
            self.admit(now, packet, room, &frame, egress);
            return;
        }
        let shared = Arc::clone(shared);
        // A speaker who is not among the loudest of this worker is not among the loudest of the room: so a room whose
        // members all speak at once cannot fill its home's queue.
        if self.choose(now, room, &frame) == Admission::Refuse {
            egress.drop_packet(packet, DropCause::NotLoudest);
            return;
        }
        self.counters.frames_crossed.add(1);
        egress.cross(shared.home, Crossing::Frame(packet, shared, frame));
    }

    /// Takes a frame that another worker has handed over, for a room whose home is here.
    pub(super) fn take_crossed(
        &mut self,
        now: Instant,
        packet: Box<Packet>,
        room: &Arc<Room>,
        frame: &CheckedFrame,
        egress: &mut Egress,
    ) {
        match self.rooms.find(room) {
            Some(room) => self.admit(now, packet, room, frame, egress),
            None => egress.drop_packet(packet, DropCause::RoomClosed),
        }
    }

    /// Closes the bundles whose window has ended: all of them if the window is zero.
    pub(super) fn end_batch(&mut self, now: Instant, egress: &mut Egress) {
        let runs_low = egress.available_buffers() < self.low_buffers;
        while let Some((closes, room)) = self.open_rooms.front().copied() {
            if closes > now && !runs_low {
                return;
            }
            self.open_rooms.pop_front();
            self.close_bundle(room, egress);
            self.rooms.settle(room);
        }
    }

    /// Sets how long a bundle waits for more frames, from the next bundle on.
    pub(super) fn set_window(&mut self, window: Duration) {
        self.window = window;
    }

    /// When the first open bundle closes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.open_rooms.front().map(|(closes, _)| *closes)
    }

    /// Puts a frame into its room's bundle, if its speaker is among the loudest.
    fn admit(
        &mut self,
        now: Instant,
        mut packet: Box<Packet>,
        room: RoomIndex,
        frame: &CheckedFrame,
        egress: &mut Egress,
    ) {
        let admission = self.choose(now, room, frame);
        if admission == Admission::Refuse {
            egress.drop_packet(packet, DropCause::NotLoudest);
            return;
        }
        self.counters.frames_in.add(1);
        let since = now.checked_sub(packet.waited).unwrap_or(now);
        match packet.make_record(frame) {
            Ok(()) => {
                let piece = Piece::Frame(packet);
                self.bundle(now, since, room, piece, frame.speaker.session, egress);
            }
            Err(_) => egress.drop_packet(packet, DropCause::Malformed),
        }
        if let Admission::InsteadOf { session, sender } = admission
            && let Ok(record) = Record::header(sender, AudioLevel::SILENCE, 0)
        {
            self.bundle(now, now, room, Piece::Stopped(record), session, egress);
        }
    }

    fn choose(&mut self, now: Instant, room: RoomIndex, frame: &CheckedFrame) -> Admission {
        match self.rooms.get_mut(room) {
            Some(room) => room.loudest.admit(now, self.speakers, &frame.speaker),
            None => Admission::Refuse,
        }
    }

    /// Adds to the room's bundle. A new bundle has its first frame since `since`. A full bundle is closed, and the next one
    /// begins.
    fn bundle(
        &mut self,
        now: Instant,
        since: Instant,
        room: RoomIndex,
        mut piece: Piece,
        session: SessionSlot,
        egress: &mut Egress,
    ) {
        // A piece that an empty bundle refuses fits into none.
        for _ in 0..2 {
            let worker = self.worker;
            let Some(open) = self.open_bundle(now, since, room, egress) else {
                break;
            };
            match open.add(worker, piece, session) {
                Ok(free) => {
                    let free = free.into_iter().flatten();
                    free.for_each(|packet| egress.release(packet));
                    return;
                }
                Err(refused) => piece = refused,
            }
            self.close_bundle(room, egress);
        }
        if let Piece::Frame(packet) = piece {
            egress.drop_packet(packet, DropCause::RoomClosed);
        }
    }

    /// The room's open bundle, or a new one. `None` if all members have left.
    fn open_bundle(
        &mut self,
        now: Instant,
        since: Instant,
        index: RoomIndex,
        egress: &mut Egress,
    ) -> Option<&mut OpenBundle> {
        let room = self.rooms.get_mut(index)?;
        if room.bundle.is_none() {
            room.bundle = Some(OpenBundle {
                receivers: room.shared.as_ref()?.snapshot(),
                bundle: egress.take_bundle(),
                since,
            });
            if !room.is_open {
                room.is_open = true;
                self.open_rooms.push_back((now + self.window, index));
            }
        }
        room.bundle.as_mut()
    }

    fn close_bundle(&mut self, room: RoomIndex, egress: &mut Egress) {
        let room = self.rooms.get_mut(room);
        if let Some(open) = room.and_then(|room| room.bundle.take()) {
            egress.send_bundle(open.bundle, &open.receivers, open.since);
        }
    }
}
