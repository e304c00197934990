//! Frames of different speakers that share a datagram, laid out once for a room and shared by all its receivers.
//!
//! A bundle of one frame is the buffer in which the frame came: the record's header is written over the end of the
//! uplink's. Several frames are copied together, once. A bundle that other workers send from too is always a copy.

use std::collections::VecDeque;
use std::sync::Arc;

use arrayvec::ArrayVec;
use confab_protocol::media::downlink::{
    self, MAX_RECORDS_LEN, RECORD_HEADER_LEN, RECORD_OFFSET_IN_UPLINK, Record,
};
use confab_protocol::media::{PACKET_NUMBER_LIMIT, RecordDigest};

use super::crossing::Frame;
use super::packet::{KernelTime, Packet};
use super::session::{Outbound, Seat};
use super::transport::Outgoing;

/// Most frames that share a datagram: as many of the shortest useful ones as fit.
const MAX_BUNDLE: usize = 48;

/// Records, where each lies, and the digest of each.
pub(super) struct Bundle {
    /// The one frame's buffer, while there is only one.
    packet: Option<Box<Packet>>,
    /// The records one after the other, when there are several.
    laid: ArrayVec<u8, MAX_RECORDS_LEN>,
    spans: ArrayVec<Span, MAX_BUNDLE>,
    digests: ArrayVec<RecordDigest, MAX_BUNDLE>,
    /// When the kernel received its oldest frame.
    received: KernelTime,
}

/// Where a record lies in its bundle, and whose it is.
struct Span {
    seat: Seat,
    start: usize,
    end: usize,
}

impl Bundle {
    fn empty() -> Self {
        Self {
            packet: None,
            laid: ArrayVec::new(),
            spans: ArrayVec::new(),
            digests: ArrayVec::new(),
            received: KernelTime::default(),
        }
    }

    /// How many frames are in it.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// True when there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Whether its one frame is still in the buffer in which it came.
    pub(super) fn holds_packet(&self) -> bool {
        self.packet.is_some()
    }

    /// When the kernel received its oldest frame.
    pub(super) fn received(&self) -> KernelTime {
        self.received
    }

    /// Whether a record fits, and its speaker has none in here yet: nobody is sent two of one speaker at once, so a
    /// speaker's own is always one piece to leave out.
    pub(super) fn takes(&self, record_len: usize, seat: Seat) -> bool {
        let used = self.spans.last().map_or(0, |span| span.end);
        !self.spans.is_full()
            && used + record_len <= MAX_RECORDS_LEN
            && self.spans.iter().all(|span| span.seat != seat)
    }

    /// Takes the first frame, in the buffer in which it came.
    pub(super) fn hold(&mut self, packet: Box<Packet>, seat: Seat) {
        self.received = packet.received;
        let record = packet.record();
        self.digests.push(RecordDigest::of(record));
        self.spans.push(Span {
            seat,
            start: 0,
            end: record.len(),
        });
        self.packet = Some(packet);
    }

    /// Appends a record that [`takes`](Self::takes) has agreed to. A first frame that was still in its own buffer is
    /// copied to where others can follow it, and its buffer given back.
    pub(super) fn lay(
        &mut self,
        record: &[u8],
        seat: Seat,
        received: KernelTime,
    ) -> Option<Box<Packet>> {
        const FITS: &str = "the bundle was asked whether it takes the record";
        if self.is_empty() {
            self.received = received;
        }
        let first = self.packet.take();
        if let Some(first) = &first {
            self.laid.try_extend_from_slice(first.record()).expect(FITS);
        }
        let start = self.laid.len();
        self.laid.try_extend_from_slice(record).expect(FITS);
        self.digests.push(RecordDigest::of(record));
        self.spans.push(Span {
            seat,
            start,
            end: self.laid.len(),
        });
        first
    }

    /// The datagram for a receiver, and how many frames are in it. `None` when there is nothing for it: it has no
    /// address yet, or the only frame is its own.
    pub(super) fn datagram_for(
        &self,
        seat: Seat,
        receiver: &Outbound,
    ) -> Option<(Outgoing<'_>, u64)> {
        let to = receiver.path?;
        if receiver.next >= PACKET_NUMBER_LIMIT {
            return None;
        }
        let number = receiver.next;
        let records = self.records();
        let own = self.spans.iter().position(|span| span.seat == seat);
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

    /// Empties it; gives back the buffer that it held.
    fn clear(&mut self) -> Option<Box<Packet>> {
        self.laid.clear();
        self.spans.clear();
        self.digests.clear();
        self.packet.take()
    }
}

/// Bundles to be used again.
#[derive(Default)]
pub(super) struct BundlePool {
    free: Vec<Arc<Bundle>>,
    /// Those that other workers send from too, oldest first: free again when nobody else has them any more.
    lent: VecDeque<Arc<Bundle>>,
}

impl BundlePool {
    /// An empty bundle that nobody else has.
    pub(super) fn take(&mut self) -> Arc<Bundle> {
        if let Some(bundle) = self.free.pop() {
            return bundle;
        }
        if let Some(mut oldest) = self.lent.pop_front() {
            if let Some(bundle) = Arc::get_mut(&mut oldest) {
                bundle.clear();
                return oldest;
            }
            self.lent.push_front(oldest);
        }
        Arc::new(Bundle::empty())
    }

    /// Remembers a bundle that goes to other workers.
    pub(super) fn lend(&mut self, bundle: &Arc<Bundle>) {
        self.lent.push_back(Arc::clone(bundle));
    }

    /// Takes a bundle back that has been sent, unless others still send from it; gives back the buffer that it held.
    pub(super) fn give(&mut self, mut bundle: Arc<Bundle>) -> Option<Box<Packet>> {
        let packet = Arc::get_mut(&mut bundle)?.clear();
        self.free.push(bundle);
        packet
    }
}

impl Packet {
    /// Writes the record's header over the end of the uplink's.
    pub(super) fn make_record(&mut self, frame: &Frame) {
        let header = Record::header(frame.sender, frame.level, self.sframe_range().len())
            .expect("an SFrame that came in one datagram fits into another");
        self.data[RECORD_OFFSET_IN_UPLINK..][..RECORD_HEADER_LEN].copy_from_slice(&header);
    }

    /// The record that was written over the header's end.
    pub(super) fn record(&self) -> &[u8] {
        &self.data[RECORD_OFFSET_IN_UPLINK..self.sframe_range().end]
    }
}
