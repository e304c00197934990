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
        &self.snapshot.shares()[self.share].receivers
    }

    /// Frames that its receivers have not been sent yet.
    pub(super) fn unsent(&self) -> u64 {
        ((self.receivers().len() - self.cursor) * self.bundle.len()) as u64
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
            match transport.reply(&outgoing) {
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
    fn send_chunk(&mut self, fanout: &Fanout, transport: &mut impl Transport) -> (usize, bool) {
        let mut targets = ArrayVec::<Target, CHUNK>::new();
        let mut chunk = ArrayVec::<Outgoing<'_>, CHUNK>::new();
        let receivers = fanout.receivers();
        let worker = self.config.index;
        let mut index = fanout.cursor;
        while index < receivers.len() && !chunk.is_full() {
            let slot = receivers[index];
            let seat = Seat { worker, slot };
            // A snapshot may be ahead of the worker's mailbox, and name a slot that is not open yet.
            let receiver = self.outbound.get(slot as usize);
            let datagram = receiver.and_then(|receiver| fanout.bundle.datagram_for(seat, receiver));
            if let Some((outgoing, frames)) = datagram {
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
            if let Some(latency) = transport.elapsed(fanout.bundle.received()) {
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
