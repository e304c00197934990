//! The way out of a worker: datagrams to its receivers, frames to other workers, and the buffers that become free by both.

mod buffers;
mod fanout;
mod receivers;
mod replies;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use arrayvec::ArrayVec;
use confab_protocol::media::downlink::{self, ByeReason, Pong};
use confab_protocol::media::{HopKey, LossReport};

use super::bundle::Bundle;
use super::config::WorkerConfig;
use super::counters::{Counters, DropCause};
use super::crossing::{Crossing, Crossings, WorkerSet};
use super::packet::{MAX_FRAME_AGE, Packet, PacketPool};
use super::path::FourTuple;
use super::room::Snapshot;
use super::session::SessionSlot;
use super::transport::{CHUNK, Outgoing, SendStatus, Transport};
use buffers::Buffers;
pub(super) use fanout::Fanout;
pub(super) use receivers::Receiver;
use receivers::Receivers;
use replies::Replies;

/// The way out of a worker.
pub(super) struct Egress {
    worker: u8,
    receivers: Receivers,
    /// Bundles that are being sent, in the order of their turns.
    fanouts: VecDeque<Fanout>,
    replies: Replies,
    buffers: Buffers,
    crossings: Arc<Crossings>,
    /// Workers that were handed something since the last [`take_notified`](Self::take_notified).
    notified: WorkerSet,
    counters: Arc<Counters>,
}

impl Egress {
    pub(super) fn new(
        config: &WorkerConfig,
        crossings: &Arc<Crossings>,
        counters: &Arc<Counters>,
    ) -> Self {
        Self {
            worker: config.index,
            receivers: Receivers::default(),
            fanouts: VecDeque::new(),
            replies: Replies::default(),
            buffers: Buffers::new(config, crossings),
            crossings: Arc::clone(crossings),
            notified: WorkerSet::default(),
            counters: Arc::clone(counters),
        }
    }

    /// Sends one chunk of each bundle that waits, rooms in turn. True if the transport took all that it was given.
    pub(super) fn transmit(&mut self, now: Instant, transport: &mut impl Transport) -> bool {
        let has_sent_all = self.send_replies(transport) && self.send_chunks(now, transport);
        let by_packet = transport.take_sent_by_packet();
        self.counters.datagrams_out_by_packet.add(by_packet);
        has_sent_all
    }

    /// True while something waits to be sent.
    pub(super) fn has_output(&self) -> bool {
        !self.fanouts.is_empty() || !self.replies.is_empty()
    }

    /// Queues a bundle for the receivers here.
    pub(super) fn push(&mut self, fanout: Fanout) {
        self.fanouts.push_back(fanout);
    }

    /// Queues a bundle for its receivers at all workers. `since` is when its first frame was received.
    pub(super) fn send_bundle(
        &mut self,
        bundle: Arc<Bundle>,
        receivers: &Arc<Snapshot>,
        since: Instant,
    ) {
        if !receivers.is_only_at(self.worker) {
            self.buffers.lend_bundle(&bundle);
        }
        for (share, of_worker) in receivers.shares().iter().enumerate() {
            let fanout = Fanout::new(&bundle, receivers, share, since);
            if of_worker.worker == self.worker {
                self.push(fanout);
            } else {
                self.counters.fanouts_crossed.add(1);
                self.cross(of_worker.worker, Crossing::Fanout(fanout));
            }
        }
        self.buffers.release_bundle(bundle);
    }

    /// Hands something to another worker, or drops it if that worker's queue is full.
    pub(super) fn cross(&mut self, to: u8, crossing: Crossing) {
        let Err(refused) = self.crossings.send(to, crossing) else {
            self.notified.add(to);
            return;
        };
        let frames = match refused {
            Crossing::Datagram(packet) | Crossing::Frame(packet, ..) => {
                self.release(packet);
                1
            }
            Crossing::Fanout(fanout) => fanout.unsent(),
        };
        self.counters.count_drops(DropCause::RingFull, frames);
    }

    /// The workers that were handed something since the last call.
    pub(super) fn take_notified(&mut self) -> WorkerSet {
        std::mem::take(&mut self.notified)
    }

    /// A session is opened: it is sent to once its path is set.
    pub(super) fn open_receiver(&mut self, slot: u32, key: &HopKey) {
        self.receivers.open(slot, key);
    }

    /// A session has ended: nothing more is sent to it.
    pub(super) fn close_receiver(&mut self, slot: u32) {
        self.receivers.close(slot);
    }

    /// Sets the proved path of a session. Without one nothing but challenges is sent to it.
    pub(super) fn set_path(&mut self, slot: u32, path: Option<FourTuple>) {
        if let Some(receiver) = self.receivers.get_mut(slot) {
            receiver.set_path(path);
        }
    }

    /// Queues a challenge to a path, proved or not.
    pub(super) fn send_challenge(&mut self, slot: u32, path: FourTuple, bytes: [u8; 8]) {
        if let Some((receiver, number)) = self.receivers.take_number(slot) {
            let datagram = downlink::path_challenge(bytes, number, receiver.key());
            self.replies.push(path, &datagram);
        }
    }

    /// Queues a pong, if `to` is the session's proved path: other addresses get no more than a challenge. True if it is.
    pub(super) fn send_pong(&mut self, slot: u32, to: FourTuple, pong: &Pong) -> bool {
        let path = self.receivers.get(slot).and_then(Receiver::path);
        if path != Some(to) {
            return false;
        }
        let Some((receiver, number)) = self.receivers.take_number(slot) else {
            return false;
        };
        let datagram = pong.encode(number, receiver.key());
        self.replies.push(to, &datagram);
        true
    }

    /// Queues a bye to a session that has a path.
    pub(super) fn send_bye(&mut self, slot: u32, reason: ByeReason) {
        if let Some((path, key, number)) = self.receivers.take_number_on_path(slot) {
            let datagram = downlink::bye(reason, number, key);
            self.replies.push(path, &datagram);
        }
    }

    /// Queues a loss report to a session that has a path.
    pub(super) fn send_loss_report(&mut self, slot: u32, report: &LossReport) {
        if let Some((path, key, number)) = self.receivers.take_number_on_path(slot) {
            let datagram = report.encode(number, key);
            self.replies.push(path, &datagram);
        }
    }

    /// Free receive buffers, for the transport to fill.
    pub(super) fn packets(&mut self) -> &mut PacketPool {
        self.buffers.packets()
    }

    pub(super) fn available_buffers(&self) -> usize {
        self.buffers.available()
    }

    /// Drops the oldest bundles that hold receive buffers until `wanted` buffers are free.
    pub(super) fn free_buffers(&mut self, wanted: usize) {
        while self.buffers.available() < wanted {
            let mut fanouts = self.fanouts.iter();
            let oldest = fanouts.position(Fanout::holds_packet);
            let Some(oldest) = oldest.and_then(|at| self.fanouts.remove(at)) else {
                return;
            };
            self.drop_fanout(oldest, DropCause::NoBuffer);
        }
    }

    /// Takes back the buffers that other workers have released.
    pub(super) fn take_buffers_back(&mut self) {
        self.buffers.take_back();
    }

    /// Gives a buffer back to the worker that owns it.
    pub(super) fn release(&mut self, packet: Box<Packet>) {
        self.buffers.release(packet);
    }

    /// Counts a dropped datagram or frame, and releases its buffer.
    pub(super) fn drop_packet(&mut self, packet: Box<Packet>, cause: DropCause) {
        self.counters.count_drop(cause);
        self.release(packet);
    }

    /// An empty bundle.
    pub(super) fn take_bundle(&mut self) -> Arc<Bundle> {
        self.buffers.take_bundle()
    }

    fn send_replies(&mut self, transport: &mut impl Transport) -> bool {
        while let Some(reply) = self.replies.first() {
            match transport.reply(&reply) {
                SendStatus::All => {
                    self.counters.datagrams_out.add(1);
                    self.counters.bytes_out.add(reply.len() as u64);
                }
                SendStatus::WouldBlock { .. } => return false,
                SendStatus::Refused { .. } => self.counters.count_drop(DropCause::SendFailed),
            }
            self.replies.pop();
        }
        true
    }

    fn send_chunks(&mut self, now: Instant, transport: &mut impl Transport) -> bool {
        for _ in 0..self.fanouts.len() {
            let Some(mut fanout) = self.fanouts.pop_front() else {
                break;
            };
            if fanout.age(now) > MAX_FRAME_AGE {
                self.drop_fanout(fanout, DropCause::Late);
                continue;
            }
            let (served, is_blocked) = self.send_chunk(&fanout, transport);
            fanout.set_served(served);
            if is_blocked {
                self.fanouts.push_front(fanout);
                self.counters.send_blocked.add(1);
                return false;
            }
            if fanout.is_done() {
                self.buffers.release_bundle(fanout.into_bundle());
            } else {
                self.fanouts.push_back(fanout);
            }
        }
        true
    }

    /// Sends to the next [`CHUNK`] receivers of a bundle. Returns the count of all its receivers that are served now, and
    /// whether the transport takes no more.
    fn send_chunk(&mut self, fanout: &Fanout, transport: &mut impl Transport) -> (usize, bool) {
        let mut targets = ArrayVec::<Target, CHUNK>::new();
        let mut chunk = ArrayVec::<Outgoing<'_>, CHUNK>::new();
        let worker = self.worker;
        let mut end = fanout.receivers().len();
        for (index, slot) in fanout.unserved() {
            if chunk.is_full() {
                end = index;
                break;
            }
            let session = SessionSlot { worker, slot };
            // A snapshot may be newer than the last command that was carried out, and have a slot that is not open yet.
            let receiver = self.receivers.get(slot);
            let datagram =
                receiver.and_then(|receiver| fanout.bundle().datagram_for(session, receiver));
            if let Some((outgoing, frames)) = datagram {
                chunk.push(outgoing);
                targets.push(Target {
                    index,
                    slot,
                    frames,
                });
            }
        }

        let (mut targets, mut chunk) = (&targets[..], &chunk[..]);
        while !chunk.is_empty() {
            let status = transport.send(chunk);
            let sent = match status {
                SendStatus::All => chunk.len(),
                SendStatus::WouldBlock { sent } | SendStatus::Refused { sent } => sent,
            };
            let sent = sent.min(chunk.len());
            let (served, waiting) = targets.split_at(sent);
            let (gone, unsent) = chunk.split_at(sent);
            self.count_sent(served, gone);
            if let Some(latency) = transport.elapsed(fanout.bundle().received()) {
                self.counters
                    .send_latency
                    .record_duration(latency, sent as u64);
            }
            (targets, chunk) = (waiting, unsent);
            match status {
                SendStatus::All => {}
                SendStatus::WouldBlock { .. } => {
                    let next = targets.first().map_or(end, |target| target.index);
                    return (next, true);
                }
                SendStatus::Refused { .. } => {
                    self.counters.count_drop(DropCause::SendFailed);
                    targets = targets.get(1..).unwrap_or_default();
                    chunk = chunk.get(1..).unwrap_or_default();
                }
            }
        }
        (end, false)
    }

    /// Takes the packet numbers of datagrams that were sent. A refused datagram takes none.
    fn count_sent(&mut self, targets: &[Target], sent: &[Outgoing<'_>]) {
        let mut frames = 0;
        for target in targets {
            self.receivers.count_sent(target.slot);
            frames += target.frames;
        }
        let bytes = sent.iter().map(Outgoing::len).sum::<usize>();
        self.counters.datagrams_out.add(sent.len() as u64);
        self.counters.bytes_out.add(bytes as u64);
        self.counters.frames_out.add(frames);
    }

    fn drop_fanout(&mut self, fanout: Fanout, cause: DropCause) {
        self.counters.count_drops(cause, fanout.unsent());
        self.buffers.release_bundle(fanout.into_bundle());
    }
}

/// A receiver whose datagram is in the chunk.
struct Target {
    index: usize,
    slot: u32,
    frames: u64,
}
