//! A media session as control describes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use confab_protocol::cluster::{MediaState, OpenMedia, SessionNote};
use confab_protocol::media::{ConnectionId, HopKey};

use super::leaves::{Holder, SessionLeaves};
use super::room::Room;

/// The place of a session in the relay.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct SessionSlot {
    /// The worker that has the session.
    pub worker: u8,
    /// The slot at that worker.
    pub slot: u32,
}

impl From<ConnectionId> for SessionSlot {
    fn from(id: ConnectionId) -> Self {
        Self {
            worker: id.worker(),
            slot: id.slot(),
        }
    }
}

/// A session as control describes it. Its worker reads it; commands write the flags.
pub struct SessionInfo {
    /// Names the session in datagrams.
    pub id: ConnectionId,
    /// Labels the participant's records.
    pub sender: u16,
    /// The leaves that its key ids may have. Its room grants them.
    leaves: SessionLeaves,
    pub room: Arc<Room>,
    /// Tags what the client sends.
    pub uplink_key: HopKey,
    /// Tags what the client receives.
    pub downlink_key: HopKey,
    /// Opaque bytes that control keeps with it.
    pub note: SessionNote,
    /// The room's version of media datagrams.
    pub media_version: u32,
    /// The same for all sessions of one account in the room.
    pub account_label: u32,
    may_speak: AtomicBool,
    seen: AtomicBool,
    closed: AtomicBool,
}

impl Holder for SessionInfo {
    fn leaves(&self) -> &SessionLeaves {
        &self.leaves
    }
}

impl SessionInfo {
    /// A session that control has just opened. It has no leaves before it is in its room.
    pub fn new(id: ConnectionId, room: Arc<Room>, open: &OpenMedia) -> Self {
        Self {
            id,
            sender: open.sender,
            leaves: SessionLeaves::default(),
            room,
            uplink_key: open.uplink_key.clone(),
            downlink_key: open.downlink_key.clone(),
            note: open.note.clone(),
            media_version: open.media_version,
            account_label: open.account_label,
            seen: AtomicBool::new(false),
            may_speak: AtomicBool::new(open.may_speak),
            closed: AtomicBool::new(false),
        }
    }

    pub fn may_speak(&self) -> bool {
        self.may_speak.load(Ordering::Acquire)
    }

    /// Takes effect with the next datagram.
    pub fn set_may_speak(&self, may_speak: bool) {
        self.may_speak.store(may_speak, Ordering::Release);
    }

    /// True if its client has proved an address.
    pub fn is_seen(&self) -> bool {
        self.seen.load(Ordering::Relaxed)
    }

    pub fn set_seen(&self) {
        self.seen.store(true, Ordering::Relaxed);
    }

    /// The session as it is reported to control at `now`.
    pub fn state(&self, now: Instant) -> MediaState {
        MediaState {
            sender: self.sender,
            leaves: self.leaves.get(now),
            connection_id: self.id,
            may_speak: self.may_speak(),
            seen: self.is_seen(),
            note: self.note.clone(),
            media_version: self.media_version,
            account_label: self.account_label,
        }
    }

    /// True if control has closed it: its datagrams are dropped.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Closes it. Takes effect with the next datagram.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}
