//! Why a room refuses a request. The sentences that clients read are in `refusals`.

use confab_protocol::control::Refusal;
use confab_protocol::version::VersionRange;

use crate::causes::from_causes;
use crate::store::StoreError;

/// The room cannot be asked at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// This node ends.
    Closing,
    /// It is not known which node owns the room, or its owner does not answer.
    Unsettled,
    /// Too many requests wait for the room.
    Crowded,
    /// The task that carried the request out panicked. The change may have been stored.
    Panicked,
}

/// Why a client does not join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinError {
    /// The conference does not exist.
    NoConference,
    /// The conference was deleted during the join.
    ConferenceDeleted,
    /// The conference is by invitation, and the account is not a member.
    InvitationOnly,
    /// The conference has as many members as it takes.
    MembersFull {
        /// Members that a conference takes.
        most: u64,
    },
    /// The account is banned from the conference.
    Banned,
    /// The account was kicked from the room during the join, or after it.
    Kicked,
    /// The account left the conference during the join.
    NotAMember,
    /// The account's session ended during the join.
    SessionEnded,
    /// The join to resume is not in the room any more.
    Gone,
    /// The account has as many participants in the room as it may have.
    TooManyDevices {
        /// Participants of one account.
        most: usize,
    },
    /// The room has as many participants as it takes.
    RoomFull {
        /// Participants that a room takes.
        most: usize,
    },
    /// All sender labels of the room are in use.
    NoLabel,
    /// The client speaks no version of media datagrams that the room can use.
    UnsupportedMedia {
        /// The versions that the client speaks.
        theirs: VersionRange,
        /// The version of a room that has participants.
        kept: Option<u32>,
    },
    /// No relay is linked that has room.
    NoRelay,
    /// The room's relay takes no more sessions.
    RelayFull,
    /// The room's relay refused the command.
    RelayRefused,
    /// The room's relay did not answer.
    RelaySilent,
    /// The room's relay has no link, and no other relay has one.
    RelayGone,
    /// The store did not do its part.
    Store(StoreError),
    /// The room cannot be asked.
    Unavailable(Unavailable),
}

/// Why a leave or a moderation is not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeError {
    /// The participant to leave is not in the room any more.
    ParticipantGone,
    /// The account to kick has no participant in the room.
    NobodyToKick,
    /// The conference does not exist.
    NoConference,
    /// A relay that may have sessions of the account did not obey. The change is stored.
    RelaySilent,
    /// The node that owns the room refused.
    ByOwner {
        /// The owner's words for the client.
        refusal: Refusal,
        /// Whether the owner said that what was to be changed does not exist.
        is_absent: bool,
    },
    /// The store did not do its part.
    Store(StoreError),
    /// The room cannot be asked.
    Unavailable(Unavailable),
}

/// Why a relay's leftover room is not closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LeftoverError {
    /// The conference does not exist.
    NoConference,
    /// The relay did not answer, or the room's owner changed.
    NotClosed,
    /// The store did not answer.
    Store(StoreError),
    /// The room cannot be asked.
    Unavailable(Unavailable),
}

impl ChangeError {
    /// Whether what was to be changed does not exist, so that its end has been reached.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::ParticipantGone
            | Self::NobodyToKick
            | Self::NoConference
            | Self::Store(StoreError::NotFound) => true,
            Self::ByOwner { is_absent, .. } => *is_absent,
            Self::RelaySilent | Self::Store(_) | Self::Unavailable(_) => false,
        }
    }
}

impl From<LeftoverError> for ChangeError {
    fn from(error: LeftoverError) -> Self {
        match error {
            LeftoverError::NoConference => Self::NoConference,
            LeftoverError::NotClosed => Self::RelaySilent,
            LeftoverError::Store(error) => Self::Store(error),
            LeftoverError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

from_causes! {
    JoinError: Store(StoreError), Unavailable(Unavailable);
    ChangeError: Store(StoreError), Unavailable(Unavailable);
    LeftoverError: Store(StoreError), Unavailable(Unavailable);
}
