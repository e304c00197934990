//! A media session as control describes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use confab_protocol::cluster::{Leaves, MediaState, OpenMedia, SessionNote};
use confab_protocol::media::{ConnectionId, HopKey};

use super::room::Room;

/// Where a session is in the relay: its worker, and its slot there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct SessionSlot {
    /// The worker that sends to it.
    pub worker: u8,
    /// Its slot at that worker.
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

/// What control says of a session. Its worker reads it, control's commands write the flags.
pub struct SessionInfo {
    /// Names the session in datagrams.
    pub id: ConnectionId,
    /// Labels the participant's records.
    pub sender: u16,
    /// The leaves that its key ids may have.
    pub leaves: Leaves,
    /// Where it is heard.
    pub room: Arc<Room>,
    /// Tags what the client sends.
    pub uplink_key: HopKey,
    /// Tags what the client receives.
    pub downlink_key: HopKey,
    /// What control keeps with it.
    pub note: SessionNote,
    /// The room's version of media datagrams.
    pub media_version: u32,
    /// The same for all sessions of one account in the room.
    pub account_label: u32,
    may_speak: AtomicBool,
    seen: AtomicBool,
    closed: AtomicBool,
}

impl SessionInfo {
    /// A session that control has just opened.
    pub fn new(id: ConnectionId, room: Arc<Room>, open: &OpenMedia) -> Self {
        Self {
            id,
            sender: open.sender,
            leaves: open.leaves,
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

    /// Whether its audio is forwarded.
    pub fn may_speak(&self) -> bool {
        self.may_speak.load(Ordering::Acquire)
    }

    /// Lets it speak or not, from the next datagram on.
    pub fn set_may_speak(&self, may_speak: bool) {
        self.may_speak.store(may_speak, Ordering::Release);
    }

    /// Whether its client has been heard, at an address that is proved.
    pub fn is_seen(&self) -> bool {
        self.seen.load(Ordering::Relaxed)
    }

    /// Its client has proved an address.
    pub fn set_seen(&self) {
        self.seen.store(true, Ordering::Relaxed);
    }

    /// As control is told of it.
    pub fn state(&self) -> MediaState {
        MediaState {
            sender: self.sender,
            leaves: self.leaves,
            connection_id: self.id,
            may_speak: self.may_speak(),
            seen: self.is_seen(),
            note: self.note.clone(),
            media_version: self.media_version,
            account_label: self.account_label,
        }
    }

    /// True when control has closed it: nothing it sends counts any more.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Closes it, from the next datagram on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}
