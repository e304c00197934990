//! What goes into a room and what comes out of it.

use bytes::Bytes;
use confab_protocol::cluster::{Action, BootId, Fence};
use confab_protocol::control::room::{LeaveReason, Role};
use confab_protocol::control::{
    AccountId, Capabilities, ConferenceId, JoinId, MediaGrant, Participant, Region, ResumeSecret,
    RoomSecret, Username,
};
use confab_protocol::media::ConnectionId;
use confab_protocol::version::VersionRange;
use confab_protocol::wire::{self, KeyScheme};

use super::errors::{ChangeError, JoinError};
use super::home::Recorded;
use crate::cluster::nodes::messages::Moderation;
use crate::cluster::{LinkedRelay, RelayEvent};
use crate::domain::RelayName;
use crate::store::{ConferenceRecord, HomePlace, HomeRecord, SessionId, Standing};

/// Names a request to the room until it is answered.
pub type Ticket = u64;

/// Names a client's QUIC connection while the process runs.
pub type ClientId = u64;

/// Who joins, from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joiner {
    /// Whose participant it will be.
    pub account: AccountId,
    /// By name.
    pub username: Username,
    /// Ends with this session.
    pub session: SessionId,
    /// Where its events go.
    pub client: ClientId,
    /// Where it is, as far as it is known.
    pub region: Option<Region>,
    /// Versions of media datagrams that the client speaks.
    pub media: VersionRange,
    /// What the client understands.
    pub capabilities: Capabilities,
}

/// A participant, named by the client that made its join.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnJoin {
    /// The account by which the client is signed in.
    pub account: AccountId,
    /// Which join.
    pub join_id: JoinId,
    /// What proves that the client made it.
    pub secret: ResumeSecret,
}

/// A join to take up again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resume {
    /// Which.
    pub join_id: JoinId,
    /// What proves that the client made it.
    pub secret: ResumeSecret,
    /// The media session on which the relay answers, as the client says.
    pub live: Option<ConnectionId>,
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

/// What can happen to a room.
#[derive(Debug)]
pub enum Input {
    /// A request.
    Request {
        /// Names it in its answer.
        ticket: Ticket,
        /// What is asked.
        request: RoomRequest,
    },
    /// The answer to a join came too late for its client: the participant goes out again.
    Unclaimed(JoinId),
    /// A session was ended: what it brought in goes out.
    SessionEnded(SessionId),
    /// The answer to [`Effect::Admit`].
    Admitted {
        /// Of this join.
        ticket: Ticket,
        /// The conference as it is, and the account's standing in it.
        result: Result<(ConferenceRecord, Standing), JoinError>,
    },
    /// The answer to [`Effect::Change`] or [`Effect::Delete`].
    Stored {
        /// Of this request.
        ticket: Ticket,
        /// Whether it was.
        result: Result<(), ChangeError>,
    },
    /// The answer to [`Effect::RecordPlace`].
    PlaceRecorded(Recorded),
    /// The answer to [`Effect::Look`].
    Looked(Recorded),
    /// Other nodes may have had the room meanwhile, or have said what this one did not hear.
    Woken,
    /// What a relay does, or has done.
    Relay(RelayEvent),
    /// A client says whether its relay answers on a media session.
    MediaReported {
        /// Who says it.
        of: OwnJoin,
        /// Which session.
        connection_id: ConnectionId,
        /// Whether it does.
        alive: bool,
    },
    /// A client says that it cannot open the frames under a leaf.
    FramesReported {
        /// Who says it.
        of: OwnJoin,
        /// The leaf in the key ids of the frames.
        leaf: u32,
    },
    /// A relay where the room is not has closed what it had of it.
    LeftoverClosed(LinkedRelay),
}

/// What a room wants done.
#[derive(Debug)]
pub enum Effect {
    /// Look the account's standing up; make it a member when the conference is public.
    Admit {
        /// For this join.
        ticket: Ticket,
        /// Whose.
        account: AccountId,
    },
    /// Store an account's standing if it still is `old`.
    Change {
        /// For this request.
        ticket: Ticket,
        /// Whose.
        account: AccountId,
        /// What it has to be.
        old: Option<Standing>,
        /// What it becomes.
        new: Option<Standing>,
    },
    /// Delete the conference from the store.
    Delete {
        /// For this request.
        ticket: Ticket,
    },
    /// Write in the room's home where its media will be.
    RecordPlace {
        /// The home as it was last known.
        home: HomeRecord,
        /// Where.
        place: HomePlace,
    },
    /// Look up whose the room is: this node may have been taken for dead. Answered soon, whatever the store does.
    Look {
        /// The home as it was last known.
        home: HomeRecord,
    },
    /// Follow this relay's link from now on, and no other.
    Settle(Option<LinkedRelay>),
    /// This relay may still have the room, and then has to close it.
    Abandon(LinkedRelay),
    /// Have a relay do something.
    Command {
        /// Names it in [`RelayEvent::CommandDone`].
        command: u64,
        /// Which.
        relay: RelayName,
        /// To this boot of it.
        boot: BootId,
        /// In whose name.
        fence: Fence,
        /// What.
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
    /// Tell clients.
    Tell {
        /// Whom, each once.
        clients: Vec<ClientId>,
        /// What.
        event: RoomEvent,
    },
    /// A session came into the room; find the room by it when it ends. Counted: once for each participant.
    Present(AccountId),
    /// One such went.
    Absent(AccountId),
}

/// What a join gives.
#[derive(Debug)]
pub struct Joined {
    /// The conference as it is.
    pub conference: ConferenceRecord,
    /// What the joining account may do.
    pub role: Role,
    /// Counts the room's changes.
    pub revision: u64,
    /// Everyone in the room, oneself included.
    pub participants: Vec<Participant>,
    /// Oneself.
    pub sender: u16,
    /// How to reach the relay; `None` when the session that is there stays.
    pub media: Option<MediaGrant>,
    /// What frame keys are derived from.
    pub secret: RoomSecret,
    /// The room's version of media datagrams.
    pub media_version: u32,
    /// For taking the join up again; `None` where it was taken up.
    pub resume_secret: Option<ResumeSecret>,
}

impl Joined {
    /// The join, if it was made and not taken up again.
    pub(super) fn made(&self) -> Option<JoinId> {
        self.resume_secret.as_ref()?;
        let mut participants = self.participants.iter();
        let own = participants.find(|participant| participant.sender == self.sender);
        own.map(|participant| participant.join_id)
    }
}

/// Something that clients in the room are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomEvent {
    /// Which room.
    pub conference: ConferenceId,
    /// The room's revision after it.
    pub revision: u64,
    /// What.
    pub kind: EventKind,
}

/// What clients in the room are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// Somebody came.
    Joined(Participant),
    /// Somebody went.
    Left(u16, LeaveReason),
    /// Somebody's role or mute changed.
    Changed(Participant),
    /// The client's own participation is over.
    Removed(JoinId, LeaveReason),
    /// The client's own media goes elsewhere.
    MediaMoved(JoinId, MediaGrant),
    /// Whether the relay answers on this media session of the client is asked.
    ProbeMedia(JoinId, ConnectionId),
    /// So many accounts cannot open the sender's frames.
    FramesUnreadable(u16, u32),
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
            room_secret: Bytes::copy_from_slice(joined.secret.reveal()),
            key_scheme: KeyScheme::RoomSecret.into(),
            media_version: joined.media_version,
            resume_secret: joined
                .resume_secret
                .as_ref()
                .map_or_else(Bytes::new, ResumeSecret::to_wire),
        }
    }
}
