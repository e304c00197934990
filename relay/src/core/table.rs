//! A worker's sessions, by slot.

use std::sync::Arc;

use confab_protocol::media::{ConnectionId, HopKey, PACKET_NUMBER_LIMIT, downlink};

use super::path::FourTuple;
use super::replies::Replies;
use super::session::{Session, SessionInfo};

/// The sessions of one worker. What a fan-out needs to send to one lies apart from the rest: it touches nothing else of a
/// receiver.
#[derive(Default)]
pub(super) struct SessionTable {
    sessions: Vec<Option<Box<Session>>>,
    /// As many as there are sessions.
    outbound: Vec<Outbound>,
}

/// What is needed to send to a session.
pub(super) struct Outbound {
    /// The proved path; nothing but challenges is sent without one.
    pub(super) path: Option<FourTuple>,
    /// Tags what is sent.
    pub(super) key: HopKey,
    /// Number of the next datagram: [`PACKET_NUMBER_LIMIT`] when there is none any more.
    pub(super) next: u32,
}

impl SessionTable {
    /// How many slots there are, used or not.
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Puts a session into its slot, which is empty.
    pub(super) fn insert(&mut self, session: Session) {
        let slot = session.info.id.slot() as usize;
        if self.sessions.len() <= slot {
            self.sessions.resize_with(slot + 1, || None);
            self.outbound.resize_with(slot + 1, Outbound::nobody);
        }
        if let (Some(place), Some(outbound)) =
            (self.sessions.get_mut(slot), self.outbound.get_mut(slot))
        {
            *outbound = Outbound::of(&session.info);
            *place = Some(Box::new(session));
        }
    }

    /// Empties a slot.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Box<Session>> {
        let session = self.sessions.get_mut(slot as usize)?.take()?;
        if let Some(outbound) = self.outbound.get_mut(slot as usize) {
            *outbound = Outbound::nobody();
        }
        Some(session)
    }

    /// The open session with exactly this id.
    pub(super) fn open(&mut self, id: ConnectionId) -> Option<(&mut Session, &mut Outbound)> {
        self.at(id.slot())
            .filter(|(session, _)| session.info.id == id && !session.info.is_closed())
    }

    /// The session in a slot, closed or not.
    pub(super) fn at(&mut self, slot: u32) -> Option<(&mut Session, &mut Outbound)> {
        let session = self.sessions.get_mut(slot as usize)?.as_deref_mut()?;
        Some((session, self.outbound.get_mut(slot as usize)?))
    }

    /// Every session.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.sessions
            .iter_mut()
            .filter_map(|session| session.as_deref_mut())
    }

    /// What is needed to send to a slot; to an empty one nothing is sent.
    pub(super) fn outbound(&self, slot: u32) -> Option<&Outbound> {
        self.outbound.get(slot as usize)
    }

    /// A datagram with the slot's next number is on its way.
    pub(super) fn count_sent(&mut self, slot: u32) {
        if let Some(outbound) = self.outbound.get_mut(slot as usize) {
            outbound.next += 1;
        }
    }
}

impl Outbound {
    fn of(info: &Arc<SessionInfo>) -> Self {
        Self {
            path: None,
            key: info.downlink_key.clone(),
            next: 0,
        }
    }

    /// Sends to nobody.
    const fn nobody() -> Self {
        Self {
            path: None,
            key: HopKey::new([0; HopKey::LEN]),
            next: 0,
        }
    }

    /// Sends a challenge to a path, proved or not.
    pub(super) fn challenge(&mut self, path: FourTuple, bytes: [u8; 8], replies: &mut Replies) {
        if let Some(number) = self.take_number() {
            let datagram = downlink::path_challenge(bytes, number, &self.key);
            replies.push(path, &datagram);
        }
    }

    /// A number for a datagram that is sent at once; `None` when they are used up.
    pub(super) fn take_number(&mut self) -> Option<u32> {
        let number = self.next;
        if number >= PACKET_NUMBER_LIMIT {
            return None;
        }
        self.next = number + 1;
        Some(number)
    }
}
