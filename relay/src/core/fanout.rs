//! Out to the room: frames of one batch share a bundle, a bundle is laid out once, each receiver gets a header.
//!
//! A bundle of one frame leaves from the buffer in which the frame came: the record's header is written over the end of
//! the uplink's. Several frames are copied together once for the room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use confab_protocol::media::downlink::{
    self, MAX_RECORDS_LEN, RECORD_HEADER_LEN, RECORD_OFFSET_IN_UPLINK, Record,
};
use confab_protocol::media::{AudioLevel, PACKET_NUMBER_LIMIT, RecordDigest};

use super::counters::DropCause;
use super::packet::{KernelTime, Packet};
use super::room::Snapshot;
use super::session::Outbound;
use super::transport::{CHUNK, Outgoing, SendStatus, Transport};
use super::worker::Worker;

/// Most frames that share a datagram: as many of the shortest useful ones as fit.
const MAX_BUNDLE: usize = 48;

/// A bundle that could not be sent for so long is of no use to anyone.
pub const MAX_WAIT: Duration = Duration::from_millis(200);

/// A frame on its way into a bundle.
pub(super) struct Frame {
    pub(super) room: usize,
    pub(super) slot: u32,
    pub(super) sender: u16,
    pub(super) level: AudioLevel,
    /// Who is no longer forwarded because this one is: slot and sender.
    pub(super) instead_of: Option<(u32, u16)>,
}

/// Frames of different speakers, bound for everyone in a room.
pub struct Bundle {
    receivers: Arc<Snapshot>,
    /// The one frame's buffer, while there is only one.
    packet: Option<Box<Packet>>,
    /// The records one after the other, when there are several.
    laid: ArrayVec<u8, MAX_RECORDS_LEN>,
    spans: ArrayVec<Span, MAX_BUNDLE>,
    digests: ArrayVec<RecordDigest, MAX_BUNDLE>,
    /// Receivers before this index are served.
    cursor: usize,
    since: Instant,
    /// When the kernel received its oldest frame.
    received: KernelTime,
}

/// Where a record lies in its bundle, and whose it is.
struct Span {
    slot: u32,
    start: usize,
    end: usize,
}

/// Bundles to be used again.
#[derive(Default)]
pub struct BundlePool {
    // Boxed so that a bundle moves by its address: it is more than 1 KiB.
    free: Vec<Box<Bundle>>,
    nobody: Arc<Snapshot>,
}

impl Worker {
    /// Puts a frame into its room's bundle.
    pub(super) fn forward(&mut self, now: Instant, mut packet: Box<Packet>, frame: &Frame) {
        self.counters.frames_in.add(1);
        let sframe = packet.sframe_range();
        let header = Record::header(frame.sender, frame.level, sframe.len())
            .expect("an SFrame that came in one datagram fits into another");
        packet.data[RECORD_OFFSET_IN_UPLINK..][..RECORD_HEADER_LEN].copy_from_slice(&header);

        let record_len = RECORD_HEADER_LEN + sframe.len();
        let Some(bundle) = self.bundle_for(now, frame.room, record_len, frame.slot) else {
            self.packets.give(packet);
            return;
        };
        if bundle.spans.is_empty() {
            bundle.received = packet.received;
            bundle.hold(packet, frame.slot);
        } else {
            let first = bundle.lay(packet.record(), frame.slot);
            self.packets.give(packet);
            if let Some(first) = first {
                self.packets.give(first);
            }
        }
        if let Some((slot, sender)) = frame.instead_of {
            self.say_stopped(now, frame.room, slot, sender);
        }
    }

    /// Closes the bundles whose time has come: all of them, when the window is zero.
    pub fn end_batch(&mut self, now: Instant) {
        let runs_low = self.packets.available() < self.config.buffers / 4;
        while let Some((closes, room)) = self.open_rooms.front().copied() {
            if closes > now && !runs_low {
                return;
            }
            self.open_rooms.pop_front();
            self.close_bundle(room);
            self.settle_room(room);
        }
    }

    /// Sends one chunk of each bundle that waits, rooms in turn. True when the socket took all it was given.
    pub fn transmit(&mut self, now: Instant, transport: &mut impl Transport) -> bool {
        if !self.send_replies(transport) {
            return false;
        }
        for _ in 0..self.fanouts.len() {
            let Some(mut bundle) = self.fanouts.pop_front() else {
                break;
            };
            if now.saturating_duration_since(bundle.since) > MAX_WAIT {
                self.shed(bundle);
                continue;
            }
            let (served, is_blocked) = self.send_chunk(&bundle, transport);
            bundle.cursor = served;
            if is_blocked {
                self.fanouts.push_front(bundle);
                return false;
            }
            if served == bundle.receivers.receivers.len() {
                self.recycle(bundle);
            } else {
                self.fanouts.push_back(bundle);
            }
        }
        true
    }

    /// Sheds the oldest bundles until `wanted` buffers are free.
    pub fn make_room(&mut self, wanted: usize) {
        while self.packets.available() < wanted {
            let Some(oldest) = self.fanouts.pop_front() else {
                return;
            };
            self.shed(oldest);
        }
    }

    /// The room's open bundle, if it takes a record of this length, or else a new one. `None` when everyone has left.
    fn bundle_for(
        &mut self,
        now: Instant,
        index: usize,
        record_len: usize,
        slot: u32,
    ) -> Option<&mut Bundle> {
        if let Some(bundle) = &self.rooms[index].bundle
            && !bundle.takes(record_len, slot)
        {
            self.close_bundle(index);
        }
        let room = &mut self.rooms[index];
        if room.bundle.is_none() {
            let receivers = room.shared.as_ref()?.snapshot();
            room.bundle = Some(self.bundles.take(now, receivers));
            if !room.is_open {
                room.is_open = true;
                self.open_rooms.push_back((now + self.window, index));
            }
        }
        room.bundle.as_deref_mut()
    }

    /// Tells the room that a sender is no longer among the loudest.
    fn say_stopped(&mut self, now: Instant, room: usize, slot: u32, sender: u16) {
        let record =
            Record::header(sender, AudioLevel::SILENCE, 0).expect("an empty record fits anywhere");
        if let Some(bundle) = self.bundle_for(now, room, RECORD_HEADER_LEN, slot) {
            let first = bundle.lay(&record, slot);
            if let Some(first) = first {
                self.packets.give(first);
            }
        }
    }

    fn close_bundle(&mut self, room: usize) {
        if let Some(bundle) = self.rooms[room].bundle.take() {
            self.fanouts.push_back(bundle);
        }
    }

    fn send_replies(&mut self, transport: &mut impl Transport) -> bool {
        while let Some(reply) = self.replies.front() {
            let (head, rest) = reply
                .bytes
                .split_first_chunk()
                .expect("every datagram begins with a header");
            let outgoing = Outgoing {
                to: reply.to,
                head: *head,
                body: [rest, &[]],
            };
            match transport.send(&[outgoing]) {
                SendStatus::All => {
                    self.counters.datagrams_out.add(1);
                    self.counters.bytes_out.add(outgoing.len() as u64);
                }
                SendStatus::WouldBlock { .. } => return false,
                SendStatus::Refused { .. } => self.counters.count_drop(DropCause::SendFailed),
            }
            self.replies.pop_front();
        }
        true
    }

    /// Sends to the next [`CHUNK`] receivers of a bundle. Says how many of them all are served now, and whether the
    /// socket takes no more.
    fn send_chunk(&mut self, bundle: &Bundle, transport: &mut impl Transport) -> (usize, bool) {
        let mut targets = ArrayVec::<Target, CHUNK>::new();
        let mut chunk = ArrayVec::<Outgoing<'_>, CHUNK>::new();
        let receivers = &bundle.receivers.receivers;
        let mut index = bundle.cursor;
        while index < receivers.len() && !chunk.is_full() {
            let slot = receivers[index];
            if let Some((outgoing, frames)) = bundle.datagram_for(slot, &self.outbound) {
                chunk.push(outgoing);
                targets.push(Target {
                    index,
                    slot,
                    frames,
                });
            }
            index += 1;
        }

        let mut at = 0;
        while at < chunk.len() {
            let status = transport.send(&chunk[at..]);
            let sent = match status {
                SendStatus::All => chunk.len() - at,
                SendStatus::WouldBlock { sent } | SendStatus::Refused { sent } => sent,
            };
            self.count_sent(&targets[at..at + sent], &chunk[at..at + sent]);
            if let Some(latency) = transport.elapsed(bundle.received) {
                self.counters.send_latency.record(latency, sent as u64);
            }
            at += sent;
            match status {
                SendStatus::All => {}
                SendStatus::WouldBlock { .. } => return (targets[at].index, true),
                SendStatus::Refused { .. } => {
                    self.counters.count_drop(DropCause::SendFailed);
                    at += 1;
                }
            }
        }
        (index, false)
    }

    /// A packet number is used up once its datagram is on its way, and not by one that was refused.
    fn count_sent(&mut self, targets: &[Target], sent: &[Outgoing<'_>]) {
        let mut frames = 0;
        for target in targets {
            self.outbound[target.slot as usize].next += 1;
            frames += target.frames;
        }
        let bytes = sent.iter().map(Outgoing::len).sum::<usize>();
        self.counters.datagrams_out.add(sent.len() as u64);
        self.counters.bytes_out.add(bytes as u64);
        self.counters.frames_out.add(frames);
    }

    fn shed(&mut self, bundle: Box<Bundle>) {
        let unserved = bundle.receivers.receivers.len() - bundle.cursor;
        self.counters
            .count_drops(DropCause::Overload, (unserved * bundle.spans.len()) as u64);
        self.recycle(bundle);
    }

    fn recycle(&mut self, mut bundle: Box<Bundle>) {
        if let Some(packet) = bundle.packet.take() {
            self.packets.give(packet);
        }
        self.bundles.give(bundle);
    }
}

/// A receiver whose datagram is in the chunk.
struct Target {
    index: usize,
    slot: u32,
    frames: u64,
}

impl Bundle {
    /// Whether a record fits, and its speaker has none in here yet: nobody is sent two of one speaker at once, so a
    /// speaker's own is always one piece to leave out.
    fn takes(&self, record_len: usize, slot: u32) -> bool {
        let used = self.spans.last().map_or(0, |span| span.end);
        !self.spans.is_full()
            && used + record_len <= MAX_RECORDS_LEN
            && self.spans.iter().all(|span| span.slot != slot)
    }

    /// Takes the first frame, in the buffer in which it came.
    fn hold(&mut self, packet: Box<Packet>, slot: u32) {
        let record = packet.record();
        self.digests.push(RecordDigest::of(record));
        self.spans.push(Span {
            slot,
            start: 0,
            end: record.len(),
        });
        self.packet = Some(packet);
    }

    /// Appends a record that [`takes`](Self::takes) has agreed to. A first frame that was still in its own buffer is
    /// copied to where others can follow it, and its buffer given back.
    fn lay(&mut self, record: &[u8], slot: u32) -> Option<Box<Packet>> {
        const FITS: &str = "the bundle was asked whether it takes the record";
        let first = self.packet.take();
        if let Some(first) = &first {
            self.laid.try_extend_from_slice(first.record()).expect(FITS);
        }
        let start = self.laid.len();
        self.laid.try_extend_from_slice(record).expect(FITS);
        self.digests.push(RecordDigest::of(record));
        self.spans.push(Span {
            slot,
            start,
            end: self.laid.len(),
        });
        first
    }

    /// The datagram for the receiver in `slot`, and how many frames are in it. `None` when there is nothing for it:
    /// it has no address yet, or the only frame is its own.
    fn datagram_for(&self, slot: u32, outbound: &[Outbound]) -> Option<(Outgoing<'_>, u64)> {
        let receiver = &outbound[slot as usize];
        let to = receiver.address?;
        if receiver.next >= PACKET_NUMBER_LIMIT {
            return None;
        }
        let number = receiver.next;
        let records = self.records();
        let own = self.spans.iter().position(|span| span.slot == slot);
        let (count, head, body) = match own {
            None => {
                let count = self.digests.len();
                let head =
                    downlink::audio_header(count as u8, number, &receiver.key, &self.digests);
                (count, head, [records, &[]])
            }
            Some(_) if self.spans.len() == 1 => return None,
            Some(own) => {
                let count = self.digests.len() - 1;
                let others = self.digests[..own].iter().chain(&self.digests[own + 1..]);
                let head = downlink::audio_header(count as u8, number, &receiver.key, others);
                let span = &self.spans[own];
                (count, head, [&records[..span.start], &records[span.end..]])
            }
        };
        Some((Outgoing { to, head, body }, count as u64))
    }

    /// The records one after the other.
    fn records(&self) -> &[u8] {
        match &self.packet {
            Some(packet) => packet.record(),
            None => &self.laid,
        }
    }
}

impl BundlePool {
    /// An empty bundle.
    fn take(&mut self, now: Instant, receivers: Arc<Snapshot>) -> Box<Bundle> {
        let mut bundle = self.free.pop().unwrap_or_else(|| {
            Box::new(Bundle {
                receivers: Arc::clone(&self.nobody),
                packet: None,
                laid: ArrayVec::new(),
                spans: ArrayVec::new(),
                digests: ArrayVec::new(),
                cursor: 0,
                since: now,
                received: KernelTime::default(),
            })
        });
        bundle.receivers = receivers;
        bundle.since = now;
        bundle
    }

    fn give(&mut self, mut bundle: Box<Bundle>) {
        bundle.receivers = Arc::clone(&self.nobody);
        bundle.laid.clear();
        bundle.spans.clear();
        bundle.digests.clear();
        bundle.cursor = 0;
        self.free.push(bundle);
    }
}

impl Packet {
    /// The record that was written over the header's end.
    fn record(&self) -> &[u8] {
        &self.data[RECORD_OFFSET_IN_UPLINK..self.sframe_range().end]
    }
}
