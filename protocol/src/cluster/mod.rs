//! What a relay and a control node say to each other, as domain types.
//!
//! The messages stand in one bidirectional stream that the relay opens, framed as in [`crate::control::framing`].

use bytes::Bytes;

use crate::control::room::{BadField, ConferenceId, parse_connection_id, parse_hop_key};
use crate::media::{ConnectionId, HopKey};
use crate::wire;

pub use crate::wire::{CommandOutcome, MediaEndReason};

/// ALPN of relays and control nodes among themselves.
pub const ALPN: &[u8] = b"confab-cluster/1";

/// Longest message, in bytes of protobuf.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Most rooms in one `LiveRooms`.
pub const MAX_LIVE_ROOMS: usize = 2000;

/// Time between two load reports of a relay, in milliseconds.
pub const LOAD_INTERVAL_MS: u64 = 1000;

/// Drawn by a relay at start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BootId(pub [u8; 16]);

/// Who may command a room at a relay: compared by era, then by placement. A relay obeys none below the highest seen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Fence {
    /// Counts the room's owners.
    pub era: u64,
    /// Counts the room's placements within the era.
    pub placement: u64,
}

/// What control tells a relay to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// Names the command in its result.
    pub id: u64,
    /// Of which room.
    pub conference: ConferenceId,
    /// In whose name.
    pub fence: Fence,
    /// To which boot of the relay.
    pub boot: BootId,
    /// What to do.
    pub action: Action,
}

/// What is to be done in a room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Opens a media session; one that the sender had in the room is closed by it.
    OpenMedia(OpenMedia),
    /// Closes the sender's session.
    CloseMedia {
        /// Whose.
        sender: u16,
    },
    /// Lets the sender speak, or not.
    SetMaySpeak {
        /// Whose.
        sender: u16,
        /// From now on.
        may_speak: bool,
    },
    /// Closes every session of the room.
    CloseRoom,
}

/// A media session to open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenMedia {
    /// Labels the participant's records.
    pub sender: u16,
    /// The leaf that its key ids must have.
    pub leaf: u32,
    /// Whether its audio is forwarded.
    pub may_speak: bool,
    /// Tags what the client sends.
    pub uplink_key: HopKey,
    /// Tags what the relay sends.
    pub downlink_key: HopKey,
}

/// What became of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandResult {
    /// Which command.
    pub id: u64,
    /// Obeyed, or why not.
    pub outcome: CommandOutcome,
    /// Of an obeyed [`Action::OpenMedia`].
    pub connection_id: Option<ConnectionId>,
}

impl From<&Command> for wire::Command {
    fn from(command: &Command) -> Self {
        use wire::command::Kind;
        let kind = match &command.action {
            Action::OpenMedia(open) => Kind::OpenMedia(wire::OpenMedia {
                sender: open.sender.into(),
                leaf: open.leaf,
                may_speak: open.may_speak,
                uplink_key: Bytes::copy_from_slice(open.uplink_key.as_bytes()),
                downlink_key: Bytes::copy_from_slice(open.downlink_key.as_bytes()),
            }),
            Action::CloseMedia { sender } => Kind::CloseMedia(wire::CloseMedia {
                sender: (*sender).into(),
            }),
            Action::SetMaySpeak { sender, may_speak } => Kind::SetMaySpeak(wire::SetMaySpeak {
                sender: (*sender).into(),
                may_speak: *may_speak,
            }),
            Action::CloseRoom => Kind::CloseRoom(wire::CloseRoom {}),
        };
        Self {
            id: command.id,
            conference_id: command.conference.to_wire(),
            era: command.fence.era,
            placement: command.fence.placement,
            boot_id: Bytes::copy_from_slice(&command.boot.0),
            kind: Some(kind),
        }
    }
}

impl TryFrom<&wire::Command> for Command {
    type Error = BadField;

    fn try_from(message: &wire::Command) -> Result<Self, BadField> {
        use wire::command::Kind;
        let action = match message.kind.as_ref().ok_or(BadField("kind"))? {
            Kind::OpenMedia(open) => Action::OpenMedia(OpenMedia {
                sender: parse_sender(open.sender)?,
                leaf: open.leaf,
                may_speak: open.may_speak,
                uplink_key: parse_hop_key(&open.uplink_key, "uplink_key")?,
                downlink_key: parse_hop_key(&open.downlink_key, "downlink_key")?,
            }),
            Kind::CloseMedia(close) => Action::CloseMedia {
                sender: parse_sender(close.sender)?,
            },
            Kind::SetMaySpeak(set) => Action::SetMaySpeak {
                sender: parse_sender(set.sender)?,
                may_speak: set.may_speak,
            },
            Kind::CloseRoom(wire::CloseRoom {}) => Action::CloseRoom,
        };
        Ok(Self {
            id: message.id,
            conference: ConferenceId::parse(&message.conference_id, "conference_id")?,
            fence: Fence {
                era: message.era,
                placement: message.placement,
            },
            boot: BootId::parse(&message.boot_id)?,
            action,
        })
    }
}

impl From<&CommandResult> for wire::CommandResult {
    fn from(result: &CommandResult) -> Self {
        Self {
            id: result.id,
            outcome: result.outcome.into(),
            connection_id: result
                .connection_id
                .map_or_else(Bytes::new, |id| Bytes::copy_from_slice(&id.to_bytes())),
        }
    }
}

impl TryFrom<&wire::CommandResult> for CommandResult {
    type Error = BadField;

    fn try_from(message: &wire::CommandResult) -> Result<Self, BadField> {
        let connection_id = match message.connection_id.as_ref() {
            [] => None,
            bytes => Some(parse_connection_id(bytes)?),
        };
        Ok(Self {
            id: message.id,
            outcome: message.outcome(),
            connection_id,
        })
    }
}

impl BootId {
    /// Reads the id from a message's field.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadField> {
        bytes.try_into().map(Self).map_err(|_| BadField("boot_id"))
    }
}

fn parse_sender(sender: u32) -> Result<u16, BadField> {
    u16::try_from(sender).map_err(|_| BadField("sender"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn actions() -> impl Strategy<Value = Action> {
        let open = (
            any::<u16>(),
            any::<u32>(),
            any::<bool>(),
            any::<[u8; 16]>(),
            any::<[u8; 16]>(),
        );
        prop_oneof![
            open.prop_map(
                |(sender, leaf, may_speak, up, down)| Action::OpenMedia(OpenMedia {
                    sender,
                    leaf,
                    may_speak,
                    uplink_key: HopKey::new(up),
                    downlink_key: HopKey::new(down),
                })
            ),
            any::<u16>().prop_map(|sender| Action::CloseMedia { sender }),
            (any::<u16>(), any::<bool>())
                .prop_map(|(sender, may_speak)| Action::SetMaySpeak { sender, may_speak }),
            Just(Action::CloseRoom),
        ]
    }

    proptest! {
        #[test]
        fn a_command_comes_out_as_it_went_in(
            id: u64, conference: [u8; 16], era: u64, placement: u64, boot: [u8; 16], action in actions()
        ) {
            let command = Command {
                id,
                conference: ConferenceId::new(conference),
                fence: Fence { era, placement },
                boot: BootId(boot),
                action,
            };
            prop_assert_eq!(Command::try_from(&wire::Command::from(&command)), Ok(command));
        }
    }
}
