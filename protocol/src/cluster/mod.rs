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

/// A relay that has nothing else to say says that it is alive so often, in milliseconds.
pub const ALIVE_INTERVAL_MS: u64 = 100;

/// A link on which nothing came for so long is silent, in milliseconds.
pub const SILENT_AFTER_MS: u64 = 400;

/// Most sessions in one answer to `ListMedia`.
pub const MAX_MEDIA_STATES: usize = 400;

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
    /// Tells which sessions the room has, those from this sender on.
    ListMedia {
        /// The first one.
        from: u16,
    },
}

/// What control keeps with a session at the relay, which does not look into it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SessionNote(pub [u8; SessionNote::LEN]);

impl SessionNote {
    /// Bytes of a note.
    pub const LEN: usize = 48;

    fn parse(bytes: &[u8]) -> Result<Self, BadField> {
        bytes.try_into().map(Self).map_err(|_| BadField("note"))
    }

    fn to_wire(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
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
    /// For whoever takes the room over.
    pub note: SessionNote,
}

/// A media session that a relay has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MediaState {
    /// Labels the participant's records.
    pub sender: u16,
    /// The leaf that its key ids must have.
    pub leaf: u32,
    /// Names it.
    pub connection_id: ConnectionId,
    /// Whether its audio is forwarded.
    pub may_speak: bool,
    /// Whether its client has been heard, at an address that is proved.
    pub seen: bool,
    /// As it came with [`OpenMedia`].
    pub note: SessionNote,
}

/// What became of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandResult {
    /// Which command.
    pub id: u64,
    /// Obeyed, or why not.
    pub outcome: CommandOutcome,
    /// Of an obeyed [`Action::OpenMedia`].
    pub connection_id: Option<ConnectionId>,
    /// Of an obeyed [`Action::ListMedia`], in the order of their senders: [`MAX_MEDIA_STATES`] at most.
    pub media: Vec<MediaState>,
    /// Whether there are more behind the last of `media`.
    pub more: bool,
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
                note: open.note.to_wire(),
            }),
            Action::CloseMedia { sender } => Kind::CloseMedia(wire::CloseMedia {
                sender: (*sender).into(),
            }),
            Action::SetMaySpeak { sender, may_speak } => Kind::SetMaySpeak(wire::SetMaySpeak {
                sender: (*sender).into(),
                may_speak: *may_speak,
            }),
            Action::CloseRoom => Kind::CloseRoom(wire::CloseRoom {}),
            Action::ListMedia { from } => Kind::ListMedia(wire::ListMedia {
                from_sender: (*from).into(),
            }),
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
                note: SessionNote::parse(&open.note)?,
            }),
            Kind::CloseMedia(close) => Action::CloseMedia {
                sender: parse_sender(close.sender)?,
            },
            Kind::SetMaySpeak(set) => Action::SetMaySpeak {
                sender: parse_sender(set.sender)?,
                may_speak: set.may_speak,
            },
            Kind::CloseRoom(wire::CloseRoom {}) => Action::CloseRoom,
            Kind::ListMedia(list) => Action::ListMedia {
                from: parse_sender(list.from_sender)?,
            },
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
            media: result.media.iter().map(Into::into).collect(),
            more: result.more,
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
            media: message
                .media
                .iter()
                .map(MediaState::try_from)
                .collect::<Result<_, _>>()?,
            more: message.more,
        })
    }
}

impl CommandResult {
    /// A result that is nothing but its outcome.
    pub fn bare(id: u64, outcome: CommandOutcome) -> Self {
        Self {
            id,
            outcome,
            connection_id: None,
            media: Vec::new(),
            more: false,
        }
    }
}

impl From<&MediaState> for wire::MediaState {
    fn from(state: &MediaState) -> Self {
        Self {
            sender: state.sender.into(),
            leaf: state.leaf,
            connection_id: Bytes::copy_from_slice(&state.connection_id.to_bytes()),
            may_speak: state.may_speak,
            seen: state.seen,
            note: state.note.to_wire(),
        }
    }
}

impl TryFrom<&wire::MediaState> for MediaState {
    type Error = BadField;

    fn try_from(message: &wire::MediaState) -> Result<Self, BadField> {
        Ok(Self {
            sender: parse_sender(message.sender)?,
            leaf: message.leaf,
            connection_id: parse_connection_id(&message.connection_id)?,
            may_speak: message.may_speak,
            seen: message.seen,
            note: SessionNote::parse(&message.note)?,
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
mod tests;
