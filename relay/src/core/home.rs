//! At a room's home worker: who is forwarded, and which frames share a datagram.
//!
//! Most rooms are on one worker, which is their home. Frames of a larger one come here from its other workers and go
//! from here to all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_protocol::media::AudioLevel;
use confab_protocol::media::downlink::{RECORD_HEADER_LEN, Record};

use super::bundle::Bundle;
use super::counters::DropCause;
use super::crossing::{Crossing, Frame};
use super::fanout::Fanout;
use super::loudest::Admission;
use super::packet::{KernelTime, Packet};
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
        let Some(room) = &self.rooms[place].shared else {
            self.give(packet);
            return;
        };
        if room.home == self.config.index {
            self.admit(now, packet, place, &frame);
            return;
        }
        let room = Arc::clone(room);
        // Who is not among the loudest here is not among the loudest of all: so a room whose members all speak at once
        // cannot fill its home's ring.
        if self.choose(now, place, &frame) == Admission::Refuse {
            self.refuse(packet);
            return;
        }
        self.counters.frames_crossed.add(1);
        self.cross(room.home, Crossing::Frame(packet, room, frame));
    }

    /// Puts a frame into its room's bundle, if its speaker is among the loudest.
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
        packet.make_record(frame);
        let index = self.config.index;
        let since = now.checked_sub(packet.waited).unwrap_or(now);
        let record_len = packet.record().len();
        let Some(open) = self.bundle_for(now, since, place, record_len, frame.seat) else {
            self.give(packet);
            return;
        };
        let stays_here = packet.owner == index && open.receivers.is_only_at(index);
        let bundle = open.bundle_mut();
        if bundle.is_empty() && stays_here {
            bundle.hold(packet, frame.seat);
        } else {
            let first = bundle.lay(packet.record(), frame.seat, packet.received);
            self.give(packet);
            first.into_iter().for_each(|first| self.give(first));
        }
        if let Admission::InsteadOf { seat, sender } = admission {
            self.say_stopped(now, place, seat, sender);
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
        let loudest = &mut self.rooms[place].loudest;
        loudest.admit(now, limit, frame.seat, frame.sender, frame.rank)
    }

    fn refuse(&mut self, packet: Box<Packet>) {
        self.counters.count_drop(DropCause::NotLoudest);
        self.give(packet);
    }

    /// The room's open bundle, if it takes a record of this length, or else a new one whose first frame waits `since`
    /// then. `None` when everyone has left.
    fn bundle_for(
        &mut self,
        now: Instant,
        since: Instant,
        place: usize,
        record_len: usize,
        seat: Seat,
    ) -> Option<&mut OpenBundle> {
        if let Some(open) = &self.rooms[place].bundle
            && !open.bundle.takes(record_len, seat)
        {
            self.close_bundle(place);
        }
        let room = &mut self.rooms[place];
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

    /// Tells the room that a sender is no longer among the loudest.
    fn say_stopped(&mut self, now: Instant, place: usize, seat: Seat, sender: u16) {
        let record =
            Record::header(sender, AudioLevel::SILENCE, 0).expect("an empty record fits anywhere");
        if let Some(open) = self.bundle_for(now, now, place, RECORD_HEADER_LEN, seat) {
            let first = open.bundle_mut().lay(&record, seat, KernelTime::default());
            first.into_iter().for_each(|first| self.give(first));
        }
    }

    /// Lets the room's bundle go to all workers that have receivers of it.
    fn close_bundle(&mut self, place: usize) {
        let Some(open) = self.rooms[place].bundle.take() else {
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
    /// The bundle, to add to it.
    fn bundle_mut(&mut self) -> &mut Bundle {
        Arc::get_mut(&mut self.bundle).expect("nobody else has a bundle before it is closed")
    }
}
