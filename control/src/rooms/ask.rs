//! Requests to the actor of a room, and their answers.

use tokio::sync::oneshot;

use super::effect::{Joined, Joiner, Resume, RoomChange, Settled};
use super::errors::{ChangeError, JoinError, LeftoverError};
use crate::client_queues::ClientSink;
use crate::cluster::LinkedRelay;
use crate::domain::Present;
use crate::store::{NodeRecord, StoreError};

/// A request to the actor of a room.
pub(super) enum Ask {
    /// A join or a resume. What the room says to the client goes to `sink` from then on.
    Join {
        who: Joiner,
        resume: Option<Resume>,
        sink: ClientSink,
        answer: AnswerTo<Box<Joined>, JoinError>,
    },
    /// A leave or a moderation.
    Change {
        change: RoomChange,
        answer: AnswerTo<Settled, ChangeError>,
    },
    /// Who is in the room. Without an answer nobody is.
    Roster {
        answer: oneshot::Sender<Vec<Present>>,
    },
    /// A relay is to close its leftover of the room.
    CloseLeftover {
        relay: LinkedRelay,
        answer: AnswerTo<(), LeftoverError>,
    },
}

/// The end of a request that was not refused.
#[derive(Debug)]
pub enum Outcome<T> {
    /// This node owns the room, and this is its answer.
    Here(T),
    /// This other node owns the room.
    Elsewhere(NodeRecord),
    /// This node lost the room, or it is not known which node owns it: ask again in a moment.
    Again,
}

pub(super) type Answered<T, E> = Result<Outcome<T>, E>;
pub(super) type AnswerTo<T, E> = oneshot::Sender<Answered<T, E>>;

/// Why a room takes no requests.
#[derive(Clone)]
pub(super) enum NoRoom {
    NoConference,
    Elsewhere(NodeRecord),
    Again,
    Store(StoreError),
}

/// An error by which a request to a room can end without the room.
pub(super) trait RoomError: From<StoreError> {
    const NO_CONFERENCE: Self;
}

impl RoomError for JoinError {
    const NO_CONFERENCE: Self = Self::NoConference;
}

impl RoomError for ChangeError {
    const NO_CONFERENCE: Self = Self::NoConference;
}

impl RoomError for LeftoverError {
    const NO_CONFERENCE: Self = Self::NoConference;
}

impl NoRoom {
    fn answer<T, E: RoomError>(&self) -> Answered<T, E> {
        match self {
            Self::NoConference => Err(E::NO_CONFERENCE),
            Self::Elsewhere(node) => Ok(Outcome::Elsewhere(node.clone())),
            Self::Again => Ok(Outcome::Again),
            Self::Store(error) => Err(error.clone().into()),
        }
    }
}

impl Ask {
    /// Answers without the room. The client may be gone.
    pub(super) fn turn_away(self, why: &NoRoom) {
        match self {
            Self::Join { answer, .. } => drop(answer.send(why.answer())),
            Self::Change { answer, .. } => drop(answer.send(why.answer())),
            Self::Roster { answer } => drop(answer),
            Self::CloseLeftover { answer, .. } => drop(answer.send(why.answer())),
        }
    }
}
