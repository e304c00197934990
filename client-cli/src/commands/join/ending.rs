//! Why a call ends.

use std::net::SocketAddr;

use confab_console::Signal;
use confab_protocol::control::room::LeaveReason;

use super::event::leave_reason;
use crate::failure::{Exit, Failure};

/// Why the call ended.
pub(super) enum Ending {
    /// As planned, or by a signal.
    Wanted(&'static str, Exit),
    /// By the server or the network.
    Failed(&'static str, Failure),
}

impl Ending {
    /// The server took the participant out of the room.
    pub(super) fn removed(reason: LeaveReason, server: &str) -> Self {
        let (exit, message) = match reason {
            LeaveReason::Left => return Self::Wanted("left", Exit::Done),
            LeaveReason::Kicked => (
                Exit::Denied,
                "you were sent out of the room, by a moderator or the server's operator; you may join again",
            ),
            LeaveReason::Banned => (
                Exit::Denied,
                "a moderator banned you from the conference; a moderator can lift the ban",
            ),
            LeaveReason::Closed => (Exit::NotFound, "the room was closed"),
            LeaveReason::SessionEnded => return Self::session_ended(server),
            LeaveReason::Lost | LeaveReason::Unspecified => (
                Exit::Network,
                "the server took you out of the room: join again",
            ),
        };
        let reason = leave_reason(reason);
        Self::Failed(reason, Failure::new(exit, reason, message))
    }

    /// The account's session ended.
    pub(super) fn session_ended(server: &str) -> Self {
        let message = format!(
            "the session was ended: by another device of yours, or by the server's operator. `confab --server {server} login NAME` says more"
        );
        let reason = "session_ended";
        Self::Failed(reason, Failure::new(Exit::Auth, reason, message))
    }
}

/// The failure of a call in which the relay never answered; `relay` is its address in use.
pub(super) fn no_media(relay: Option<SocketAddr>) -> Failure {
    let relay = relay.map_or_else(
        || "none of the relay's addresses answers".to_owned(),
        |address| format!("the relay at {address} (UDP) does not answer"),
    );
    let message = format!(
        "voice was never connected: {relay}; its operator may have to open the port or to give --public-address"
    );
    Failure::new(Exit::Network, "no_media", message)
}

/// Exit code of a call that a signal ends in order.
pub(super) fn ended_by(signal: Signal) -> Exit {
    match signal {
        Signal::Interrupt => Exit::Interrupted,
        Signal::Terminate | Signal::Hangup => Exit::Done,
    }
}
