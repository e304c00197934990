//! Who is in a room already that this node takes over: what its relay has goes on as it is.

use confab_protocol::control::{AccountId, Participant, RoomSecret};
use confab_protocol::media::ConnectionId;

use super::note::ResumeHash;
use crate::cluster::LinkedRelay;
use crate::store::SessionId;

/// A room as it was found at its relay.
pub struct Adopted {
    /// Where.
    pub relay: LinkedRelay,
    /// Who is there and may be.
    pub participants: Vec<Adoptee>,
    /// Who is there and may not be: their sessions are closed. `None` for a session of which the relay has no good note.
    pub strangers: Vec<(u16, Option<AccountId>)>,
    /// What `participants` have in common; `None` when there is nobody.
    pub parameters: Option<CallParameters>,
}

/// What the participants of a room have in common while they gather.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallParameters {
    /// What their frame keys are derived from.
    pub secret: RoomSecret,
    /// The version of media datagrams that they speak.
    pub media_version: u32,
}

/// One who is in the room by the word of its relay, and of the store.
pub struct Adoptee {
    /// As the store knows its account.
    pub participant: Participant,
    /// Ends with this session.
    pub session: SessionId,
    /// Of the secret that only its client has.
    pub(super) resume: ResumeHash,
    /// Its media session.
    pub connection_id: ConnectionId,
    /// What the relay lets it do.
    pub may_speak: bool,
}
