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
use confab_protocol::media::{HopKey, MediaError, RecordDigest, TAG_LEN};

use super::egress::Receiver;
use super::frame::CheckedFrame;
use super::packet::{KernelTime, Packet};
use super::path::FourTuple;
use super::session::SessionSlot;
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

/// A record that is added to a bundle.
pub(super) enum Piece {
    /// A frame, in the buffer in which it came.
    Frame(Box<Packet>),
    /// The notice that a speaker is not forwarded any more.
    Stopped([u8; RECORD_HEADER_LEN]),
}

/// The position of a record in its bundle, and its speaker.
struct Span {
    session: SessionSlot,
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

    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// True if its one frame is still in the buffer in which it came.
    pub(super) fn holds_packet(&self) -> bool {
        self.packet.is_some()
    }

    /// When the kernel received its oldest frame.
    pub(super) fn received(&self) -> KernelTime {
        self.received
    }

    /// Adds a record behind the others: gives buffers back that are not needed any more, or the record if it does not fit.
    ///
    /// A first frame stays in the buffer in which it came if it `may_stay` there, until another one follows it.
    pub(super) fn add(
        &mut self,
        piece: Piece,
        session: SessionSlot,
        may_stay: impl FnOnce(&Packet) -> bool,
    ) -> Result<[Option<Box<Packet>>; 2], Piece> {
        let record = piece.record();
        let start = self.spans.last().map_or(0, |span| span.end);
        let end = start + record.len();
        // One frame of each speaker, so that the frame to leave out for its own speaker is one piece.
        let takes = !self.spans.is_full()
            && end <= MAX_RECORDS_LEN
            && self.spans.iter().all(|span| span.session != session);
        if !takes {
            return Err(piece);
        }
        if self.spans.is_empty() {
            self.received = piece.received();
        }
        let digest = RecordDigest::of(record);
        let span = Span {
            session,
            start,
            end,
        };
        if self.digests.try_push(digest).is_err() || self.spans.try_push(span).is_err() {
            return Err(piece);
        }
        let piece = match piece {
            Piece::Frame(packet) if start == 0 && may_stay(&packet) => {
                self.packet = Some(packet);
                return Ok([None, None]);
            }
            piece => piece,
        };
        let first = self.packet.take();
        let first_record = first.as_deref().map_or(&[][..], Packet::record);
        // Both fit: `end` was looked at.
        let _ = self.laid.try_extend_from_slice(first_record);
        let _ = self.laid.try_extend_from_slice(piece.record());
        Ok([first, piece.into_packet()])
    }

    /// The datagram for a receiver, and the count of its frames. `None` if the receiver has no path or no packet number left,
    /// or if the only frame is its own.
    pub(super) fn datagram_for(
        &self,
        session: SessionSlot,
        receiver: &Receiver,
    ) -> Option<(Outgoing<'_>, u64)> {
        let to = receiver.path()?;
        let (number, key) = (receiver.next_number()?, receiver.key());
        if let Some(own) = self.spans.iter().position(|span| span.session == session) {
            return self.datagram_without(own, to, number, key);
        }
        let count = self.digests.len();
        let head = downlink::audio_header(count as u8, number, key, &self.digests);
        let body = [self.records(), &[]];
        Some((Outgoing { to, head, body }, count as u64))
    }

    /// The same without one of the frames. Out of line, for it is rare.
    #[inline(never)]
    fn datagram_without(
        &self,
        own: usize,
        to: FourTuple,
        number: u32,
        key: &HopKey,
    ) -> Option<(Outgoing<'_>, u64)> {
        let span = self.spans.get(own)?;
        let (before, from_own) = self.digests.split_at_checked(own)?;
        let (_, after) = from_own.split_first()?;
        let count = before.len() + after.len();
        if count == 0 {
            return None;
        }
        let others = before.iter().chain(after);
        let head = downlink::audio_header(count as u8, number, key, others);
        let records = self.records();
        let body = [records.get(..span.start)?, records.get(span.end..)?];
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

/// Bundles for reuse.
#[derive(Default)]
pub(super) struct BundlePool {
    free: Vec<Arc<Bundle>>,
    /// Bundles that other workers send too, oldest first. One is free again when this is its last reference.
    lent: VecDeque<Arc<Bundle>>,
}

impl BundlePool {
    /// An empty bundle.
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

    /// Takes back a bundle that has been sent, unless another worker still sends it. Returns the buffer that it held.
    pub(super) fn give(&mut self, mut bundle: Arc<Bundle>) -> Option<Box<Packet>> {
        let packet = Arc::get_mut(&mut bundle)?.clear();
        self.free.push(bundle);
        packet
    }
}

impl Piece {
    /// The record's bytes.
    fn record(&self) -> &[u8] {
        match self {
            Self::Frame(packet) => packet.record(),
            Self::Stopped(record) => record,
        }
    }

    fn received(&self) -> KernelTime {
        match self {
            Self::Frame(packet) => packet.received,
            Self::Stopped(_) => KernelTime::default(),
        }
    }

    fn into_packet(self) -> Option<Box<Packet>> {
        match self {
            Self::Frame(packet) => Some(packet),
            Self::Stopped(_) => None,
        }
    }
}

impl Packet {
    /// Writes the record's header over the end of the uplink's. An error when it fits into no datagram.
    pub(super) fn make_record(&mut self, frame: &CheckedFrame) -> Result<(), MediaError> {
        let sframe_len = self.record().len().saturating_sub(RECORD_HEADER_LEN);
        let header = Record::header(frame.speaker.sender, frame.level, sframe_len)?;
        self.data[RECORD_OFFSET_IN_UPLINK..][..RECORD_HEADER_LEN].copy_from_slice(&header);
        Ok(())
    }

    /// The record that was written over the header's end; before that, as many bytes.
    fn record(&self) -> &[u8] {
        let end = self.len.saturating_sub(TAG_LEN);
        self.data.get(RECORD_OFFSET_IN_UPLINK..end).unwrap_or(&[])
    }
}
