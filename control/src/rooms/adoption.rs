//! The participants of a room that this node takes over. Their media sessions go on unchanged.

use confab_protocol::cluster::Leaves;
use confab_protocol::control::{AccountId, Participant, Username};
use confab_protocol::media::ConnectionId;

use super::label::LabelKey;
use super::note::ResumeHash;
use crate::cluster::LinkedRelay;
use crate::store::SessionId;

/// A room at its relay, found by a roll call.
pub struct Adopted {
    /// The relay.
    pub relay: LinkedRelay,
    /// The participants that may stay.
    pub participants: Vec<Adoptee>,
    /// The senders whose sessions are closed, because they may not be in the room; `None` for a session without a valid note.
    pub strangers: Vec<(u16, Option<AccountId>)>,
    /// The call parameters of `participants`; `None` without participants.
    pub parameters: Option<CallParameters>,
}

/// What all participants of a call share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallParameters {
    /// The key of labels.
    pub(super) labels: LabelKey,
    /// The version of media datagrams.
    pub media_version: u32,
}

/// A participant whose session the relay has and whose account the store knows.
pub struct Adoptee {
    /// The participant.
    pub participant: Participant,
    /// The account's name.
    pub username: Username,
    /// The leaves that the session has at the relay, in the group of the owner before.
    pub leaves: Leaves,
    /// The account's session.
    pub session: SessionId,
    /// The hash of the client's resume secret.
    pub(super) resume: ResumeHash,
    /// The media session.
    pub connection_id: ConnectionId,
    /// True if the relay forwards the participant's frames.
    pub may_speak: bool,
}
