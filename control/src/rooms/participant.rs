//! A participant of a room, and the state of its media session.

use confab_protocol::cluster::Leaves;
use confab_protocol::control::room::Role;
use confab_protocol::control::{Participant, ResumeSecret};
use confab_protocol::media::ConnectionId;

use super::effect::ClientId;
use super::note::ResumeHash;
use crate::store::SessionId;

/// A participant, with what clients are not told.
pub(super) struct ParticipantState {
    pub(super) participant: Participant,
    pub(super) session: SessionId,
    /// The connection that gets its events; `None` after a takeover until the client resumes its join.
    pub(super) client: Option<ClientId>,
    /// The hash of the secret with which the client resumes its join.
    pub(super) resume: ResumeHash,
    pub(super) media: MediaSession,
    /// Its leaves in the room's group, for its relay.
    pub(super) leaves: Leaves,
}

/// The state of a participant's media session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediaSession {
    /// The room has no relay for it, or has not asked its relay yet.
    Waiting,
    /// The relay was asked; the command has the keys.
    Opening,
    /// The relay has opened it.
    Open(ConnectionId),
}

/// The command that an admitted join needs.
pub(super) enum Wanted {
    /// Confirm that the relay still has the session of this sender, which may speak or not.
    Kept(u16, bool),
    /// Open a session.
    Opened(Box<SessionRequest>),
}

/// A participant whose media session is to be opened.
pub(super) struct SessionRequest {
    pub(super) participant: Participant,
    pub(super) session: SessionId,
    pub(super) resume: ResumeHash,
    pub(super) leaves: Leaves,
}

/// The result of a join.
pub(super) enum Finished {
    /// A new participant, with the secret for its client.
    Joined(Participant, ResumeSecret),
    /// A resumed participant's role, and the participant itself if the resume changed it.
    Resumed(Role, Option<Participant>),
    /// The participant to resume has left meanwhile.
    Gone,
}

impl ParticipantState {
    pub(super) fn is_opening(&self) -> bool {
        self.media == MediaSession::Opening
    }
}
