//! Messages between a call and its supervisor.

use std::time::Duration;

use confab_e2ee::mls::{FromMember, GroupName};
use confab_protocol::control::{ConferenceId, JoinId};
use confab_protocol::media::ConnectionId;
use tokio::sync::oneshot;

use crate::engine::readability::Unreadable;
use crate::engine::room::Joined;
use crate::net::api::MediaReport;
use crate::net::event::{GroupMessage, ServerEvent};
use crate::net::sign_in::SignInError;

/// Where a call stands, for a resumed join.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// The media session on which the relay answers: a resumed join keeps it.
    pub live: Option<ConnectionId>,
    /// The member's group and its epoch.
    pub group: Option<(GroupName, u64)>,
}

/// News for the call.
#[derive(Debug)]
pub enum Update {
    /// An event of the server.
    Event(ServerEvent),
    /// A message of the delivery service to this join.
    Group(GroupMessage),
    /// The connection is lost, for this reason, and the supervisor connects again. Repeated once if the server cannot be
    /// trusted meanwhile.
    Lost(String),
    /// The participant is in the room again: by the same join (`resumed`), or a new one.
    Rejoined {
        /// The answer to the join.
        joined: Box<Joined>,
        /// True when the join, its label and its place in the group are as before.
        resumed: bool,
        /// True when the connection was lost in between.
        reconnected: bool,
    },
    /// The participation is over; no more updates follow.
    Failed(SignInError),
}

/// A request of the call to its supervisor.
#[derive(Debug)]
pub enum CallRequest {
    /// Resume the join, with a new media session unless a live one exists by then. The supervisor repeats this until it succeeds.
    Resume,
    /// The network changed: move the connection to a new socket.
    NetworkChanged,
    /// The network works again: make pending attempts at once.
    NetworkBack,
    /// The machine or the program was suspended for this time.
    Woke(Duration),
    /// Tell the server whether a relay answers.
    Report(MediaReport),
    /// Tell the server that frames in this conference's room do not open.
    ReportFrames(ConferenceId, Unreadable),
    /// Give this message of the join's member to the delivery service. It is dropped while there is no connection: the member
    /// repeats what matters after a resumed join.
    Group(JoinId, FromMember),
    /// Leave the room, close the connection, and then signal the sender.
    Leave(oneshot::Sender<()>),
}
