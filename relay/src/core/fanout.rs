//! Out to the receivers of one worker: a chunk of each bundle, rooms in turn, with a header of each receiver's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use super::bundle::Bundle;
use super::counters::DropCause;
use super::room::Snapshot;
use super::session::Seat;
use super::transport::{CHUNK, Outgoing, SendStatus, Transport};
use super::worker::Worker;

/// A frame that has waited for so long is of no use to anyone.
pub const MAX_WAIT: Duration = Duration::from_millis(200);

/// A bundle on its way to the receivers of one worker.
pub(super) struct Fanout {
    bundle: Arc<Bundle>,
    snapshot: Arc<Snapshot>,
    /// Which of the snapshot's shares.
    share: usize,
    /// Receivers before this index are served.
    cursor: usize,
    since: Instant,
}

impl Fanout {
    /// To one of the snapshot's shares. `since` is when the bundle was opened.
    pub(super) fn new(
        bundle: &Arc<Bundle>,
        snapshot: &Arc<Snapshot>,
        share: usize,
        since: Instant,
    ) -> Self {
        Self {
            bundle: Arc::clone(bundle),
            snapshot: Arc::clone(snapshot),
            share,
            cursor: 0,
            since,
        }
    }

    fn receivers(&self) -> &[u32] {
        let share = self.snapshot.shares().get(self.share);
        share.map_or(&[], |share| &share.receivers)
    }

    /// Frames that its receivers have not been sent yet.
    pub(super) fn unsent(&self) -> u64 {
        let unserved = self.receivers().len().saturating_sub(self.cursor);
        (unserved * self.bundle.len()) as u64
    }
}

impl Worker {
    /// Sends one chunk of each bundle that waits, rooms in turn. True when the socket took all it was given.
    pub fn transmit(&mut self, now: Instant, transport: &mut impl Transport) -> bool {
        if !self.send_replies(transport) {
            return false;
        }
        for _ in 0..self.fanouts.len() {
            let Some(mut fanout) = self.fanouts.pop_front() else {
                break;
            };
            if now.saturating_duration_since(fanout.since) > MAX_WAIT {
                self.shed(fanout, DropCause::Late);
                continue;
            }
            let (served, is_blocked) = self.send_chunk(&fanout, transport);
            fanout.cursor = served;
            if is_blocked {
                self.fanouts.push_front(fanout);
                self.counters.send_blocked.add(1);
                return false;
            }
            if served == fanout.receivers().len() {
                self.finish(fanout);
            } else {
                self.fanouts.push_back(fanout);
            }
        }
        true
    }

    /// Sheds the oldest bundles that hold buffers until `wanted` of those are free.
    pub fn make_room(&mut self, wanted: usize) {
        while self.packets.available() < wanted {
            let mut fanouts = self.fanouts.iter();
            let oldest = fanouts.position(|fanout| fanout.bundle.holds_packet());
            let Some(oldest) = oldest.and_then(|at| self.fanouts.remove(at)) else {
                return;
            };
            self.shed(oldest, DropCause::NoBuffer);
        }
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

    /// Sends to the next [`CHUNK`] receivers of a bundle. Says how many of them all are served now, and whether the
    /// socket takes no more.
    fn send_chunk(&mut self, fanout: &Fanout, transport: &mut impl Transport) -> (usize, bool) {
        let mut targets = ArrayVec::<Target, CHUNK>::new();
        let mut chunk = ArrayVec::<Outgoing<'_>, CHUNK>::new();
        let receivers = fanout.receivers();
        let worker = self.config.index;
        let unserved = receivers.get(fanout.cursor..).unwrap_or_default();
        let mut end = receivers.len();
        for (index, &slot) in (fanout.cursor..).zip(unserved) {
            if chunk.is_full() {
                end = index;
                break;
            }
            let seat = Seat { worker, slot };
            // A snapshot may be ahead of the worker's mailbox, and name a slot that is not open yet.
            let receiver = self.sessions.outbound(slot);
            let datagram = receiver.and_then(|receiver| fanout.bundle.datagram_for(seat, receiver));
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
            if let Some(latency) = transport.elapsed(fanout.bundle.received()) {
                self.counters.send_latency.record(latency, sent as u64);
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

    /// A packet number is used up once its datagram is on its way, and not by one that was refused.
    fn count_sent(&mut self, targets: &[Target], sent: &[Outgoing<'_>]) {
        let mut frames = 0;
        for target in targets {
            self.sessions.count_sent(target.slot);
            frames += target.frames;
        }
        let bytes = sent.iter().map(Outgoing::len).sum::<usize>();
        self.counters.datagrams_out.add(sent.len() as u64);
        self.counters.bytes_out.add(bytes as u64);
        self.counters.frames_out.add(frames);
    }

    fn shed(&mut self, fanout: Fanout, cause: DropCause) {
        self.counters.count_drops(cause, fanout.unsent());
        self.finish(fanout);
    }

    fn finish(&mut self, fanout: Fanout) {
        if let Some(packet) = self.bundles.give(fanout.bundle) {
            self.give(packet);
        }
    }
}

/// A receiver whose datagram is in the chunk.
struct Target {
    index: usize,
    slot: u32,
    frames: u64,
}
