//! Messages between a call and its supervisor.

use std::time::Duration;

use confab_protocol::control::ConferenceId;
use tokio::sync::oneshot;

use crate::engine::readability::Unreadable;
use crate::engine::room::Joined;
use crate::net::api::MediaReport;
use crate::net::event::ServerEvent;
use crate::net::sign_in::SignInError;

/// News for the call.
#[derive(Debug)]
pub enum Update {
    /// An event of the server.
    Event(ServerEvent),
    /// The connection is lost, for this reason, and the supervisor connects again. Repeated once if the server cannot be
    /// trusted meanwhile.
    Lost(String),
    /// The participant is in the room again: by the same join (`resumed`), or a new one.
    Rejoined {
        /// The answer to the join.
        joined: Box<Joined>,
        /// True when keys, leaf and label are as before.
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
    /// Leave the room, close the connection, and then signal the sender.
    Leave(oneshot::Sender<()>),
}
