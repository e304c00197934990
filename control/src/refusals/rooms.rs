//! Errors of joins and of changes of live rooms.

use std::time::Duration;

use confab_protocol::control::{ErrorCode, Refusal};

use crate::rooms::{ChangeError, JoinError, PLACE_RETRY, Unavailable};

/// Typical time until a relay answers.
const RELAY_RETRY: Duration = Duration::from_millis(500);
/// Typical time until a room has handled some of the waiting requests.
const CROWDED_RETRY: Duration = Duration::from_millis(500);
/// Typical time until another node owns the room.
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
                format!("you are in this room with {most} devices, the maximum: leave with one of them"),
            ),
            JoinError::RoomFull { most } => Self::new(
                ErrorCode::LimitReached,
                format!("the room is full: it takes {most} participants"),
            ),
            JoinError::NoLabel => Self::new(
                ErrorCode::LimitReached,
                "the room has no free sender label",
            ),
            JoinError::UnsupportedMedia { theirs, kept } => {
                let ours = match kept {
                    Some(version) => format!("this room uses version {version}"),
                    None => "the server has no relay that supports one of them".to_owned(),
                };
                let message = format!(
                    "your client supports media versions {theirs}, but {ours}: update the older program"
                );
                Self::new(ErrorCode::UnsupportedVersion, message)
            }
            JoinError::NoRelay => Self::new(
                ErrorCode::NoRelay,
                "no relay with free capacity is linked to this server: its operator has to start confab-relay",
            )
            .after(PLACE_RETRY),
            JoinError::RelayFull => Self::new(
                ErrorCode::NoRelay,
                "the room's relay is full; try again later",
            ),
            JoinError::RelayRefused => Self::new(
                ErrorCode::Internal,
                "the room's relay rejected the server's command; see the relay's log",
            ),
            JoinError::RelaySilent => relay_silent(),
            JoinError::RelayGone => Self::new(
                ErrorCode::Busy,
                "the server has no relay now: its operator has to start one, if it does not come back",
            )
            .after(RELAY_RETRY),
            JoinError::Store(error) => error.into(),
            JoinError::Unavailable(why) => why.into(),
        }
    }
}

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::ParticipantGone => participant_gone("join_id"),
            ChangeError::NobodyToKick => Self::new(
                ErrorCode::NotFound,
                "no participant of this name is in the room",
            )
            .about("username"),
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
                "no server owns the room at the moment, or its owner does not answer; try again in a moment",
            )
            .after(UNSETTLED_RETRY),
            Unavailable::Crowded => Self::new(
                ErrorCode::Busy,
                "the room has too many requests; try again in a moment",
            )
            .after(CROWDED_RETRY),
            Unavailable::Panicked => Self::new(
                ErrorCode::Internal,
                "the server failed; see its log. Check whether the change was made before you try again",
            ),
        }
    }
}

pub(super) fn invitation_only() -> Refusal {
    Refusal::new(
        ErrorCode::Denied,
        "this conference is invitation-only: ask its owner for an invitation",
    )
}

pub(super) fn members_full(most: u64) -> Refusal {
    Refusal::new(
        ErrorCode::LimitReached,
        format!("the conference has its maximum of {most} members"),
    )
}

fn no_conference() -> Refusal {
    Refusal::new(ErrorCode::NotFound, "there is no such conference").about("slug")
}

fn participant_gone(field: &'static str) -> Refusal {
    Refusal::new(
        ErrorCode::NotFound,
        "this participant is no longer in the room: join again",
    )
    .about(field)
}

fn relay_silent() -> Refusal {
    Refusal::new(
        ErrorCode::Busy,
        "the relay does not answer; try again in a moment",
    )
    .after(RELAY_RETRY)
}
