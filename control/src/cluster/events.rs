//! Events that a relay sends to the rooms that have sessions there.

use std::net::SocketAddr;

use confab_protocol::cluster::{BootId, CommandResult, MediaEndReason};
use confab_protocol::media::ConnectionId;

#[derive(Debug)]
pub enum RelayEvent {
    /// The relay has answered a command, or its link was missing or broke before the answer.
    CommandDone { command: u64, response: Response },
    /// The relay has ended a media session by itself.
    MediaEnded {
        /// The participant's sender label.
        sender: u16,
        connection_id: ConnectionId,
        reason: MediaEndReason,
    },
    /// The relay has restarted or is not admitted any more. All sessions of this boot are lost.
    Gone(BootId),
    /// The link is broken, or no message has come for `SILENT_AFTER_MS`. The relay may be dead.
    Silent(BootId),
    /// Messages come over the same link again.
    Recovered(BootId),
    /// The same boot of the relay has linked again. Its sessions continued without the link.
    Relinked(BootId),
    /// The relay has other addresses for clients from now on.
    Readdressed(BootId, Vec<SocketAddr>),
    /// The relay drains: it will end and accepts no new rooms.
    Drains(BootId),
}

/// The outcome of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    Answered(CommandResult),
    /// No answer comes: the relay is not linked, or its link broke. The command may have been obeyed.
    NoLink,
}

impl RelayEvent {
    /// The boot of the relay whose state has changed; `None` for events of a command or of a session.
    pub fn boot(&self) -> Option<BootId> {
        match self {
            Self::CommandDone { .. } | Self::MediaEnded { .. } => None,
            Self::Gone(boot)
            | Self::Silent(boot)
            | Self::Recovered(boot)
            | Self::Relinked(boot)
            | Self::Readdressed(boot, _)
            | Self::Drains(boot) => Some(*boot),
        }
    }
}
