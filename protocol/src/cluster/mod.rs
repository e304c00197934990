//! What a relay and a control node say to each other, as domain types.
//!
//! The messages stand in one bidirectional stream that the relay opens, framed as in [`crate::control::framing`].

mod leaves;

use std::time::Duration;

use bytes::Bytes;

use crate::control::room::{
    BadField, ConferenceId, GenerationLeaf, parse_connection_id, parse_hop_key,
};
use crate::media::{ConnectionId, HopKey};
use crate::version::media_version_from_wire;
use crate::wire;

pub use crate::wire::{CommandOutcome, MediaEndReason};
pub use leaves::{GrantedLeaf, LEAF_BEFORE_FOR, Leaves, MAX_LEAVES, MAX_SET_LEAVES};

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
pub const MAX_MEDIA_STATES: usize = 150;

/// Longest time after which a relay may end a session from which it hears nothing.
pub const MAX_IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// Drawn by a relay at start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BootId(pub [u8; 16]);

/// The rank of a command for a room: era first, then placement. A relay refuses commands whose fence is below the highest it
/// has seen.
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
    /// These participants have these leaves from now on; those without a session are skipped. The leaf of the generation before
    /// counts for [`LEAF_BEFORE_FOR`] more.
    SetLeaves(Vec<(u16, GrantedLeaf)>),
    /// Frames of this generation up to this epoch are dropped from now on, and so are those of generations before it.
    RetireEpochs {
        /// The generation of the room's group.
        generation: u64,
        /// The newest epoch that has retired.
        epoch: u64,
    },
    /// Tells which sessions the room has, those from this sender on.
    ListMedia {
        /// The first one.
        from: u16,
    },
}

/// What control keeps with a session at the relay, which cannot look into it.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct SessionNote(Box<[u8]>);

impl SessionNote {
    /// Most bytes of a note.
    pub const MAX_LEN: usize = 256;

    /// Takes a note over; `None` when it is longer than [`MAX_LEN`](Self::MAX_LEN).
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= Self::MAX_LEN).then(|| Self(bytes.into()))
    }

    /// The note's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn parse(bytes: &[u8]) -> Result<Self, BadField> {
        Self::new(bytes).ok_or(BadField("note"))
    }

    fn to_wire(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

impl std::fmt::Debug for SessionNote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionNote({} bytes)", self.0.len())
    }
}

/// A media session to open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenMedia {
    /// Labels the participant's records.
    pub sender: u16,
    /// The leaves that its key ids may have.
    pub leaves: Leaves,
    /// Whether its audio is forwarded.
    pub may_speak: bool,
    /// Tags what the client sends.
    pub uplink_key: HopKey,
    /// Tags what the relay sends.
    pub downlink_key: HopKey,
    /// For the node that takes the room over.
    pub note: SessionNote,
    /// The room's version of media datagrams.
    pub media_version: u32,
    /// The same for all sessions of one account in the room.
    pub account_label: u32,
}

/// A media session that a relay has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MediaState {
    /// Labels the participant's records.
    pub sender: u16,
    /// The leaves that its key ids may have.
    pub leaves: Leaves,
    /// Names it.
    pub connection_id: ConnectionId,
    /// Whether its audio is forwarded.
    pub may_speak: bool,
    /// Whether its client has been heard, at an address that is proved.
    pub seen: bool,
    /// As it came with [`OpenMedia`].
    pub note: SessionNote,
    /// As it came with [`OpenMedia`].
    pub media_version: u32,
    /// As it came with [`OpenMedia`].
    pub account_label: u32,
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

impl OpenMedia {
    /// A session with this leaf in generation 0 of a room that keeps media version 1: it may speak, has no note, and shares its
    /// account's label, 0, with every other such session.
    pub fn new(sender: u16, leaf: u32, uplink_key: HopKey, downlink_key: HopKey) -> Self {
        Self {
            sender,
            leaves: Leaves::one(GrantedLeaf {
                leaf: GenerationLeaf {
                    generation: 0,
                    leaf,
                },
                first_epoch: 0,
            }),
            may_speak: true,
            uplink_key,
            downlink_key,
            note: SessionNote::default(),
            media_version: 1,
            account_label: 0,
        }
    }
}

impl From<&Command> for wire::Command {
    fn from(command: &Command) -> Self {
        use wire::command::Kind;
        let kind = match &command.action {
            Action::OpenMedia(open) => Kind::OpenMedia(wire::OpenMedia {
                sender: open.sender.into(),
                leaves: open.leaves.to_wire(),
                may_speak: open.may_speak,
                uplink_key: Bytes::copy_from_slice(open.uplink_key.as_bytes()),
                downlink_key: Bytes::copy_from_slice(open.downlink_key.as_bytes()),
                note: open.note.to_wire(),
                media_version: open.media_version,
                account_label: open.account_label,
            }),
            Action::CloseMedia { sender } => Kind::CloseMedia(wire::CloseMedia {
                sender: (*sender).into(),
            }),
            Action::SetMaySpeak { sender, may_speak } => Kind::SetMaySpeak(wire::SetMaySpeak {
                sender: (*sender).into(),
                may_speak: *may_speak,
            }),
            Action::CloseRoom => Kind::CloseRoom(wire::CloseRoom {}),
            Action::SetLeaves(leaves) => Kind::SetLeaves(wire::SetLeaves {
                leaves: leaves::of_senders_to_wire(leaves),
            }),
            Action::RetireEpochs { generation, epoch } => Kind::RetireEpochs(wire::RetireEpochs {
                generation: *generation,
                epoch: *epoch,
            }),
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
                leaves: Leaves::parse(&open.leaves)?,
                may_speak: open.may_speak,
                uplink_key: parse_hop_key(&open.uplink_key, "uplink_key")?,
                downlink_key: parse_hop_key(&open.downlink_key, "downlink_key")?,
                note: SessionNote::parse(&open.note)?,
                media_version: media_version_from_wire(open.media_version),
                account_label: open.account_label,
            }),
            Kind::CloseMedia(close) => Action::CloseMedia {
                sender: parse_sender(close.sender)?,
            },
            Kind::SetMaySpeak(set) => Action::SetMaySpeak {
                sender: parse_sender(set.sender)?,
                may_speak: set.may_speak,
            },
            Kind::CloseRoom(wire::CloseRoom {}) => Action::CloseRoom,
            Kind::SetLeaves(set) => Action::SetLeaves(leaves::parse_of_senders(&set.leaves)?),
            Kind::RetireEpochs(retire) => Action::RetireEpochs {
                generation: retire.generation,
                epoch: retire.epoch,
            },
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
            leaves: state.leaves.to_wire(),
            connection_id: Bytes::copy_from_slice(&state.connection_id.to_bytes()),
            may_speak: state.may_speak,
            seen: state.seen,
            note: state.note.to_wire(),
            media_version: state.media_version,
            account_label: state.account_label,
        }
    }
}

impl TryFrom<&wire::MediaState> for MediaState {
    type Error = BadField;

    fn try_from(message: &wire::MediaState) -> Result<Self, BadField> {
        Ok(Self {
            sender: parse_sender(message.sender)?,
            leaves: Leaves::parse(&message.leaves)?,
            connection_id: parse_connection_id(&message.connection_id)?,
            may_speak: message.may_speak,
            seen: message.seen,
            note: SessionNote::parse(&message.note)?,
            media_version: media_version_from_wire(message.media_version),
            account_label: message.account_label,
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
