//! Events of relays, for the rooms that have sessions there.

use confab_protocol::cluster::{BootId, CommandResult, MediaEndReason};
use confab_protocol::media::ConnectionId;

/// An event of a relay, for a room that has sessions there.
#[derive(Debug)]
pub enum RelayEvent {
    /// A command has an outcome.
    CommandDone {
        command: u64,
        response: Response,
    },
    /// The relay has ended a media session by itself.
    MediaEnded {
        /// The participant's label.
        sender: u16,
        connection_id: ConnectionId,
        reason: MediaEndReason,
    },
    /// This run of the relay is over, and its sessions with it.
    Gone(BootId),
    /// The link is silent or broken. The relay may be dead.
    Silent(BootId),
    /// The link is well again.
    Heard(BootId),
    /// The relay has linked anew. Its sessions went on meanwhile.
    Back(BootId),
    /// The relay drains: it is about to end.
    Drains(BootId),
}

/// The outcome of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    Answered(CommandResult),
    /// The relay has no link.
    NoLink,
}

impl RelayEvent {
    /// The run of the relay whose state has changed.
    pub fn boot(&self) -> Option<BootId> {
        match self {
            Self::CommandDone { .. } | Self::MediaEnded { .. } => None,
            Self::Gone(boot)
            | Self::Silent(boot)
            | Self::Heard(boot)
            | Self::Back(boot)
            | Self::Drains(boot) => Some(*boot),
        }
    }
}
