//! The inputs and the effects of a room.

use std::time::Duration;

use bytes::Bytes;
use confab_e2ee::mls::{FromMember, ToMember};
use confab_protocol::cluster::{Action, BootId, Fence};
use confab_protocol::control::room::{LeaveReason, Role};
use confab_protocol::control::{
    AccountId, Capabilities, ConferenceId, GenerationLeaf, JoinId, MediaGrant, Participant, Region,
    ResumeSecret, Username,
};
use confab_protocol::media::ConnectionId;
use confab_protocol::version::VersionRange;
use confab_protocol::wire::{self, KeyScheme};

use super::errors::{ChangeError, JoinError};
use super::group::GroupState;
use super::home::Recorded;
use crate::cluster::nodes::messages::Moderation;
use crate::cluster::{LinkedRelay, RelayEvent};
use crate::domain::RelayName;
use crate::metrics::groups::{GroupCause, GroupRefusal};
use crate::store::{ConferenceRecord, HomePlace, HomeRecord, SessionId, Standing};

/// The number of a request to the room, until it is answered.
pub type Ticket = u64;

/// The number of a client's QUIC connection within the process.
pub type ClientId = u64;

/// An account that joins, and the client from which it joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joiner {
    /// The account.
    pub account: AccountId,
    /// The account's name.
    pub username: Username,
    /// The account's session. The participant leaves when it ends.
    pub session: SessionId,
    /// The connection that gets the participant's events.
    pub client: ClientId,
    /// The region of the client, if it is known.
    pub region: Option<Region>,
    /// Versions of media datagrams that the client speaks.
    pub media: VersionRange,
    /// The features that the client understands.
    pub capabilities: Capabilities,
}

/// A participant, named by the client that made its join.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnJoin {
    /// The account by which the client is signed in.
    pub account: AccountId,
    /// The join.
    pub join_id: JoinId,
    /// The secret that the client got with the join.
    pub secret: ResumeSecret,
}

/// A join to resume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resume {
    /// The join.
    pub join_id: JoinId,
    /// The secret that the client got with the join.
    pub secret: ResumeSecret,
    /// The media session on which the relay answers, according to the client.
    pub live: Option<ConnectionId>,
    /// Where the client's MLS group stands.
    pub group: GroupState,
}

/// A request to a room.
#[derive(Clone, Debug)]
pub enum RoomRequest {
    /// A client joins, or resumes a join. [`Effect::AnswerJoin`] answers it.
    Join {
        /// The participant to be.
        who: Joiner,
        /// The join to resume.
        resume: Option<Resume>,
    },
    /// A change. [`Effect::AnswerChange`] answers it.
    Change(RoomChange),
}

/// A change of a room that is acknowledged when it holds for others.
#[derive(Clone, Debug)]
pub enum RoomChange {
    /// A participant leaves.
    Leave {
        /// The account that asks.
        account: AccountId,
        /// The connection from which it asks.
        client: ClientId,
        /// The participant's join.
        join_id: JoinId,
    },
    /// A moderator, or the owner, changes the room or a membership.
    Moderate(Moderation),
}

/// Where an acknowledged change holds. It is stored in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// At all relays.
    Everywhere,
    /// Not at a relay that has been unreachable for long. It obeys when it is back.
    WhereReached,
}

impl Settled {
    /// Where this change and another one hold.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Everywhere, Self::Everywhere) => Self::Everywhere,
            _ => Self::WhereReached,
        }
    }
}

/// An input of a room.
#[derive(Debug)]
pub enum Input {
    /// A request.
    Request {
        /// The number of the request.
        ticket: Ticket,
        /// The request.
        request: RoomRequest,
    },
    /// The client of an answered join is gone: the participant leaves again.
    Unclaimed(JoinId),
    /// An account session has ended: its participants leave.
    SessionEnded(SessionId),
    /// The answer to [`Effect::Admit`].
    Admitted {
        /// The join.
        ticket: Ticket,
        /// The conference as it is, and the account's standing in it.
        result: Result<(ConferenceRecord, Standing), JoinError>,
    },
    /// The answer to [`Effect::Change`] or [`Effect::Delete`].
    Stored {
        /// The request.
        ticket: Ticket,
        /// The result.
        result: Result<(), ChangeError>,
    },
    /// The answer to [`Effect::RecordPlace`].
    PlaceRecorded(Recorded),
    /// The answer to [`Effect::Look`].
    Looked(Recorded),
    /// Other nodes may have owned the room meanwhile, or notices from them may have been lost: everything is looked up again.
    Woken,
    /// An event of a relay.
    Relay(RelayEvent),
    /// A client says whether its relay answers on a media session.
    MediaReported {
        /// The participant that reports.
        of: OwnJoin,
        /// The media session.
        connection_id: ConnectionId,
        /// Whether the relay answers.
        alive: bool,
    },
    /// A client says that it cannot open the frames under a leaf.
    FramesReported {
        /// The participant that reports.
        of: OwnJoin,
        /// The leaf in the key ids of the frames.
        leaf: u32,
    },
    /// A participant says something to the delivery service.
    ToGroup {
        /// The participant.
        of: OwnJoin,
        /// What it says, in order.
        messages: Vec<FromMember>,
        /// The round trip to its client.
        round_trip: Duration,
    },
    /// A client's connection is lost.
    Disconnected(ClientId),
    /// A relay has closed a leftover of the room.
    LeftoverClosed(LinkedRelay),
}

/// An effect that the room's actor carries out.
#[derive(Debug)]
pub enum Effect {
    /// Look the account's standing up; make it a member when the conference is public.
    Admit {
        /// The join.
        ticket: Ticket,
        /// The account that joins.
        account: AccountId,
    },
    /// Store an account's standing if it still is `old`.
    Change {
        /// The request.
        ticket: Ticket,
        /// The account whose standing changes.
        account: AccountId,
        /// The standing that the store must have.
        old: Option<Standing>,
        /// The new standing; `None` removes it.
        new: Option<Standing>,
    },
    /// Delete the conference from the store.
    Delete {
        /// The request.
        ticket: Ticket,
    },
    /// Write the room's relay into its home.
    RecordPlace {
        /// The home as it was last known.
        home: HomeRecord,
        /// The relay.
        place: HomePlace,
    },
    /// Look up who owns the room: other nodes may have taken this one for dead. Answered within half a second, whatever the store does.
    Look {
        /// The home as it was last known.
        home: HomeRecord,
    },
    /// Take the events of this relay from now on, and of no other.
    Settle(Option<LinkedRelay>),
    /// This relay may still have sessions of the room: close them when it can be reached.
    Abandon(LinkedRelay),
    /// Send a command to a relay.
    Command {
        /// The room's number of the command, for [`RelayEvent::CommandDone`].
        command: u64,
        /// The relay.
        relay: RelayName,
        /// The boot of the relay for which the command holds.
        boot: BootId,
        /// The era and placement of the command.
        fence: Fence,
        /// The action.
        action: Action,
    },
    /// Answer a join.
    AnswerJoin {
        /// The join.
        ticket: Ticket,
        /// The answer.
        answer: Result<Box<Joined>, JoinError>,
    },
    /// Answer a change.
    AnswerChange {
        /// The change.
        ticket: Ticket,
        /// The answer.
        answer: Result<Settled, ChangeError>,
    },
    /// Answer a request: this node has lost the room, ask again.
    AskAgain(Ticket),
    /// Send an event to clients.
    Tell {
        /// The clients, each once.
        clients: Vec<ClientId>,
        /// The event.
        event: RoomEvent,
    },
    /// Send a message of the delivery service to a participant's client.
    TellMember {
        /// The client.
        client: ClientId,
        /// The participant's join.
        join_id: JoinId,
        /// The message.
        message: ToMember,
    },
    /// Count a new group of the room.
    CountGroup(GroupCause),
    /// Count a message to the group that was refused.
    CountRefused(GroupRefusal),
    /// A participant or a join of the account is in the room: the end of its session finds the room by that. Counted, once for each.
    Present(AccountId),
    /// One of them is not in the room any more.
    Absent(AccountId),
}

/// The answer to a join.
#[derive(Debug)]
pub struct Joined {
    /// The conference as it is.
    pub conference: ConferenceRecord,
    /// The role of the joining account.
    pub role: Role,
    /// The room's revision: the number of its changes.
    pub revision: u64,
    /// All participants, the new one included.
    pub participants: Vec<Participant>,
    /// The sender label of the new participant.
    pub sender: u16,
    /// The relay's address and keys; `None` if the client keeps its media session.
    pub media: Option<MediaGrant>,
    /// The key under which the delivery service proposes.
    pub delivery_key: [u8; 32],
    /// The room's version of media datagrams.
    pub media_version: u32,
    /// The secret with which the client can resume the join; `None` if this was a resume.
    pub resume_secret: Option<ResumeSecret>,
}

impl Joined {
    /// The join, if it is new and not resumed.
    pub(super) fn made(&self) -> Option<JoinId> {
        self.resume_secret.as_ref()?;
        let mut participants = self.participants.iter();
        let own = participants.find(|participant| participant.sender == self.sender);
        own.map(|participant| participant.join_id)
    }
}

/// An event of the room for its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomEvent {
    /// The conference.
    pub conference: ConferenceId,
    /// The room's revision after it.
    pub revision: u64,
    /// The event.
    pub kind: EventKind,
}

/// The kinds of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// A participant joined.
    Joined(Participant),
    /// A participant left.
    Left(u16, LeaveReason),
    /// A participant's role, mute or capabilities changed.
    Changed(Participant),
    /// The client's own participant was removed.
    Removed(JoinId, LeaveReason),
    /// The client's own media session moves to another relay.
    MediaMoved(JoinId, MediaGrant),
    /// The client is asked whether its relay answers on this media session.
    ProbeMedia(JoinId, ConnectionId),
    /// This number of accounts cannot decrypt the sender's frames.
    FramesUnreadable(u16, u32),
    /// These senders have these leaves.
    LeavesAssigned(Vec<(u16, GenerationLeaf)>),
}

impl From<&RoomEvent> for wire::Event {
    fn from(event: &RoomEvent) -> Self {
        use wire::event::Kind;
        let kind = match &event.kind {
            EventKind::Joined(participant) => Kind::Joined(wire::ParticipantJoined {
                participant: Some(participant.into()),
            }),
            EventKind::Left(sender, reason) => Kind::Left(wire::ParticipantLeft {
                sender: (*sender).into(),
                reason: (*reason).into(),
            }),
            EventKind::Changed(participant) => Kind::Changed(wire::ParticipantChanged {
                participant: Some(participant.into()),
            }),
            EventKind::Removed(join_id, reason) => Kind::Removed(wire::Removed {
                join_id: join_id.to_wire(),
                reason: (*reason).into(),
            }),
            EventKind::MediaMoved(join_id, grant) => Kind::MediaMoved(wire::MediaMoved {
                join_id: join_id.to_wire(),
                media: Some(grant.into()),
            }),
            EventKind::ProbeMedia(join_id, connection_id) => Kind::ProbeMedia(wire::ProbeMedia {
                join_id: join_id.to_wire(),
                connection_id: Bytes::copy_from_slice(&connection_id.to_bytes()),
            }),
            EventKind::FramesUnreadable(sender, accounts) => {
                Kind::FramesUnreadable(wire::FramesUnreadable {
                    sender: (*sender).into(),
                    accounts: *accounts,
                })
            }
            EventKind::LeavesAssigned(leaves) => Kind::LeavesAssigned(wire::LeavesAssigned {
                leaves: leaves
                    .iter()
                    .map(|(sender, leaf)| wire::AssignedLeaf {
                        sender: (*sender).into(),
                        leaf: Some((*leaf).into()),
                    })
                    .collect(),
            }),
        };
        Self {
            conference_id: event.conference.to_wire(),
            revision: event.revision,
            kind: Some(kind),
        }
    }
}

impl From<&Joined> for wire::RoomJoined {
    fn from(joined: &Joined) -> Self {
        let live = u32::try_from(joined.participants.len()).unwrap_or(u32::MAX);
        Self {
            conference: Some(joined.conference.to_wire(joined.role, live)),
            revision: joined.revision,
            participants: joined.participants.iter().map(Into::into).collect(),
            self_sender: joined.sender.into(),
            media: joined.media.as_ref().map(Into::into),
            delivery_key: Bytes::copy_from_slice(&joined.delivery_key),
            key_scheme: KeyScheme::Mls.into(),
            media_version: joined.media_version,
            resume_secret: joined
                .resume_secret
                .as_ref()
                .map_or_else(Bytes::new, ResumeSecret::to_wire),
        }
    }
}
