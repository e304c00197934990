//! Joins, and changes of live rooms.

use std::time::Duration;

use confab_protocol::control::{ErrorCode, Refusal};

use crate::rooms::{ChangeError, JoinError, PLACE_RETRY, Unavailable};

/// Time until a relay has probably answered.
const RELAY_RETRY: Duration = Duration::from_millis(500);
/// Time until a room has worked through some of the requests that wait for it.
const CROWDED_RETRY: Duration = Duration::from_millis(500);
/// Time until another node has probably taken the room.
const UNSETTLED_RETRY: Duration = Duration::from_millis(250);

impl From<JoinError> for Refusal {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::NoConference => no_conference(),
            JoinError::ConferenceDeleted => {
                Self::new(ErrorCode::NotFound, "the conference was deleted")
            }
            JoinError::InvitationOnly => invitation_only(),
            JoinError::MembersFull { most } => members_full(most),
            JoinError::Banned => Self::new(
                ErrorCode::Banned,
                "you are banned from this conference; only its owner or a moderator can lift that",
            ),
            JoinError::Kicked => Self::new(
                ErrorCode::Denied,
                "you were kicked from the room; you may join again",
            ),
            JoinError::NotAMember => Self::new(ErrorCode::Denied, "you have left the conference"),
            JoinError::SessionEnded => Self::new(
                ErrorCode::SessionEnded,
                "your session has ended: log in again",
            ),
            JoinError::Gone => participant_gone("resume_join_id"),
            JoinError::TooManyDevices { most } => Self::new(
                ErrorCode::LimitReached,
                format!("you are in this room with {most} devices already: leave with one of them"),
            ),
            JoinError::RoomFull { most } => Self::new(
                ErrorCode::LimitReached,
                format!("the room is full: it takes {most} participants"),
            ),
            JoinError::NoLabel => Self::new(
                ErrorCode::LimitReached,
                "the room has given all of its labels away",
            ),
            JoinError::UnsupportedMedia { theirs, kept } => {
                let ours = match kept {
                    Some(version) => format!("this room keeps version {version}"),
                    None => "the server has no relay that speaks one of them".to_owned(),
                };
                let message = format!(
                    "your client speaks versions {theirs} of voice, and {ours}: update the older"
                );
                Self::new(ErrorCode::UnsupportedVersion, message)
            }
            JoinError::NoRelay => Self::new(
                ErrorCode::NoRelay,
                "no relay carries voice for this server now: its operator has to start confab-relay, or one with more room",
            )
            .after(PLACE_RETRY),
            JoinError::RelayFull => Self::new(
                ErrorCode::NoRelay,
                "the room's relay has no place for another; try again later",
            ),
            JoinError::RelayRefused => Self::new(
                ErrorCode::Internal,
                "the room's relay did not understand the server; its log says why",
            ),
            JoinError::RelaySilent => relay_silent(),
            JoinError::Store(error) => error.into(),
            JoinError::Unavailable(why) => why.into(),
        }
    }
}

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::ParticipantGone => participant_gone("join_id"),
            ChangeError::NobodyToKick => {
                Self::new(ErrorCode::NotFound, "nobody of this name is in the room")
                    .about("username")
            }
            ChangeError::NoConference => no_conference(),
            ChangeError::RelaySilent => relay_silent(),
            ChangeError::ByOwner { refusal, .. } => refusal,
            ChangeError::Store(error) => error.into(),
            ChangeError::Unavailable(why) => why.into(),
        }
    }
}

impl From<Unavailable> for Refusal {
    fn from(why: Unavailable) -> Self {
        match why {
            Unavailable::Closing => Self::new(
                ErrorCode::Busy,
                "the server is closing; connect again in a moment",
            )
            .after(CROWDED_RETRY),
            Unavailable::Unsettled => Self::new(
                ErrorCode::Busy,
                "which server has the room is not settled, or that server does not answer; try again in a moment",
            )
            .after(UNSETTLED_RETRY),
            Unavailable::Crowded => Self::new(
                ErrorCode::Busy,
                "too much is going on in this room; try again in a moment",
            )
            .after(CROWDED_RETRY),
            Unavailable::Panicked => Self::new(
                ErrorCode::Internal,
                "the server failed; its log says why. Look whether it was done before you try again",
            ),
        }
    }
}

pub(super) fn invitation_only() -> Refusal {
    Refusal::new(
        ErrorCode::Denied,
        "this conference is by invitation: ask its owner for one",
    )
}

pub(super) fn members_full(most: u64) -> Refusal {
    Refusal::new(
        ErrorCode::LimitReached,
        format!("the conference has its {most} members already"),
    )
}

fn no_conference() -> Refusal {
    Refusal::new(ErrorCode::NotFound, "there is no such conference").about("slug")
}

fn participant_gone(field: &'static str) -> Refusal {
    Refusal::new(
        ErrorCode::NotFound,
        "this participant is not in the room any more: join afresh",
    )
    .about(field)
}

fn relay_silent() -> Refusal {
    Refusal::new(
        ErrorCode::Busy,
        "the relay has not answered; try again in a moment",
    )
    .after(RELAY_RETRY)
}
