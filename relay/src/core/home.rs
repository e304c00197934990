//! At a room's home worker: who is forwarded, and which frames share a datagram.
//!
//! Most rooms are on one worker, which is their home. Frames of a larger one come here from its other workers and go
//! from here to all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_protocol::media::AudioLevel;
use confab_protocol::media::downlink::Record;

use super::bundle::{Bundle, Piece};
use super::counters::DropCause;
use super::crossing::{Crossing, Frame};
use super::fanout::Fanout;
use super::loudest::Admission;
use super::packet::Packet;
use super::room::Snapshot;
use super::session::Seat;
use super::worker::Worker;

/// A room's bundle while it takes frames.
pub(super) struct OpenBundle {
    bundle: Arc<Bundle>,
    receivers: Arc<Snapshot>,
    since: Instant,
}

impl Worker {
    /// Brings a frame of a session of this worker to its room's home.
    pub(super) fn bring_home(
        &mut self,
        now: Instant,
        packet: Box<Packet>,
        place: usize,
        frame: Frame,
    ) {
        let room = self.rooms.get(place).and_then(|room| room.shared.as_ref());
        let Some(room) = room else {
            self.give(packet);
            return;
        };
        if room.home == self.config.index {
            self.admit(now, packet, place, &frame);
            return;
        }
        let room = Arc::clone(room);
        // Who has no place here has none among all: so a room whose members all speak at once cannot fill its home's
        // ring.
        if self.choose(now, place, &frame) == Admission::Refuse {
            self.refuse(packet);
            return;
        }
        self.counters.frames_crossed.add(1);
        self.cross(room.home, Crossing::Frame(packet, room, frame));
    }

    /// Puts a frame into its room's bundle, if its speaker is one of those who are forwarded.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        mut packet: Box<Packet>,
        place: usize,
        frame: &Frame,
    ) {
        let admission = self.choose(now, place, frame);
        if admission == Admission::Refuse {
            self.refuse(packet);
            return;
        }
        self.counters.frames_in.add(1);
        let since = now.checked_sub(packet.waited).unwrap_or(now);
        match packet.make_record(frame) {
            Ok(()) => self.bundle(now, since, place, Piece::Frame(packet), frame.speaker.seat),
            Err(_) => self.drop_frame(packet, DropCause::Malformed),
        }
        if let Admission::InsteadOf { seat, sender } = admission
            && let Ok(record) = Record::header(sender, AudioLevel::SILENCE, 0)
        {
            self.bundle(now, now, place, Piece::Stopped(record), seat);
        }
    }

    /// Closes the bundles whose time has come: all of them, when the window is zero.
    pub fn end_batch(&mut self, now: Instant) {
        let runs_low = self.packets.available() < self.config.buffers / 4;
        while let Some((closes, place)) = self.open_rooms.front().copied() {
            if closes > now && !runs_low {
                return;
            }
            self.open_rooms.pop_front();
            self.close_bundle(place);
            self.rooms.settle(place);
        }
    }

    /// From now on a bundle waits for more frames for so long.
    pub fn set_window(&mut self, window: Duration) {
        self.window = window;
    }

    /// When the first open bundle closes; [`end_batch`](Self::end_batch) wants to be called then.
    pub fn deadline(&self) -> Option<Instant> {
        self.open_rooms.front().map(|(closes, _)| *closes)
    }

    fn choose(&mut self, now: Instant, place: usize, frame: &Frame) -> Admission {
        let limit = self.config.speakers;
        match self.rooms.get_mut(place) {
            Some(room) => room.loudest.admit(now, limit, &frame.speaker),
            None => Admission::Refuse,
        }
    }

    fn refuse(&mut self, packet: Box<Packet>) {
        self.drop_frame(packet, DropCause::NotLoudest);
    }

    fn drop_frame(&mut self, packet: Box<Packet>, cause: DropCause) {
        self.counters.count_drop(cause);
        self.give(packet);
    }

    /// Adds to the room's bundle, whose first frame has been waiting since `since` if it is a new one. One that takes no
    /// more is closed, and the next one begins.
    fn bundle(&mut self, now: Instant, since: Instant, place: usize, mut piece: Piece, seat: Seat) {
        let index = self.config.index;
        // What does not fit into an empty bundle fits into none.
        for _ in 0..2 {
            let Some(open) = self.open_bundle(now, since, place) else {
                break;
            };
            match open.add(index, piece, seat) {
                Ok(free) => {
                    free.into_iter()
                        .flatten()
                        .for_each(|packet| self.give(packet));
                    return;
                }
                Err(refused) => piece = refused,
            }
            self.close_bundle(place);
        }
        if let Piece::Frame(packet) = piece {
            self.drop_frame(packet, DropCause::RoomClosed);
        }
    }

    /// The room's open bundle, or a new one. `None` when everyone has left.
    fn open_bundle(
        &mut self,
        now: Instant,
        since: Instant,
        place: usize,
    ) -> Option<&mut OpenBundle> {
        let room = self.rooms.get_mut(place)?;
        if room.bundle.is_none() {
            room.bundle = Some(OpenBundle {
                receivers: room.shared.as_ref()?.snapshot(),
                bundle: self.bundles.take(),
                since,
            });
            if !room.is_open {
                room.is_open = true;
                self.open_rooms.push_back((now + self.window, place));
            }
        }
        room.bundle.as_mut()
    }

    /// Lets the room's bundle go to all workers that have receivers of it.
    fn close_bundle(&mut self, place: usize) {
        let open = self
            .rooms
            .get_mut(place)
            .and_then(|room| room.bundle.take());
        let Some(open) = open else {
            return;
        };
        let index = self.config.index;
        if !open.receivers.is_only_at(index) {
            self.bundles.lend(&open.bundle);
        }
        for (share, of_worker) in open.receivers.shares().iter().enumerate() {
            let fanout = Fanout::new(&open.bundle, &open.receivers, share, open.since);
            if of_worker.worker == index {
                self.fanouts.push_back(fanout);
            } else {
                self.counters.fanouts_crossed.add(1);
                self.cross(of_worker.worker, Crossing::Fanout(fanout));
            }
        }
        if let Some(packet) = self.bundles.give(open.bundle) {
            self.give(packet);
        }
    }
}

impl OpenBundle {
    /// Adds to the bundle at worker `index`; gives buffers back that are not needed any more, or what does not fit.
    fn add(
        &mut self,
        index: u8,
        piece: Piece,
        seat: Seat,
    ) -> Result<[Option<Box<Packet>>; 2], Piece> {
        // A bundle that is sent from already takes nothing.
        let Some(bundle) = Arc::get_mut(&mut self.bundle) else {
            return Err(piece);
        };
        bundle.add(piece, seat, |packet| {
            packet.owner == index && self.receivers.is_only_at(index)
        })
    }
}
