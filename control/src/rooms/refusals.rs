//! What those are told whom a room refuses.

use std::time::Duration;

use confab_protocol::control::{ErrorCode, Refusal};
use confab_protocol::version::VersionRange;

use super::placement::PLACE_RETRY;

/// What a client is told to wait when a relay did not obey.
const RELAY_RETRY: Duration = Duration::from_millis(500);

const GONE: &str = "this participant is not in the room any more: join afresh";

/// Of a participant that is to leave.
pub(super) fn participant_gone() -> Refusal {
    Refusal::new(ErrorCode::NotFound, GONE).about("join_id")
}

/// Of a join that is to be taken up again.
pub(super) fn join_gone() -> Refusal {
    Refusal::new(ErrorCode::NotFound, GONE).about("resume_join_id")
}

pub(super) fn nobody_to_kick() -> Refusal {
    Refusal::new(ErrorCode::NotFound, "nobody of this name is in the room").about("username")
}

pub(super) fn unsupported_media(theirs: VersionRange, kept: Option<u32>) -> Refusal {
    let ours = match kept {
        Some(version) => format!("this room keeps version {version}"),
        None => "the server has no relay that speaks one of them".to_owned(),
    };
    Refusal::new(
        ErrorCode::UnsupportedVersion,
        format!("your client speaks versions {theirs} of voice, and {ours}: update the older"),
    )
}

pub(super) fn too_many_devices(most: usize) -> Refusal {
    Refusal::new(
        ErrorCode::LimitReached,
        format!("you are in this room with {most} devices already: leave with one of them"),
    )
}

pub(super) fn room_full(most: usize) -> Refusal {
    Refusal::new(
        ErrorCode::LimitReached,
        format!("the room is full: it takes {most} participants"),
    )
}

pub(super) fn no_label() -> Refusal {
    Refusal::new(
        ErrorCode::LimitReached,
        "the room has given all of its labels away",
    )
}

pub(super) fn kicked() -> Refusal {
    Refusal::new(
        ErrorCode::Denied,
        "you were kicked from the room; you may join again",
    )
}

pub(super) fn banned() -> Refusal {
    Refusal::new(
        ErrorCode::Banned,
        "you are banned from this conference; only its owner or a moderator can lift that",
    )
}

pub(super) fn not_a_member() -> Refusal {
    Refusal::new(ErrorCode::Denied, "you have left the conference")
}

pub(super) fn session_ended() -> Refusal {
    Refusal::new(
        ErrorCode::SessionEnded,
        "your session has ended: log in again",
    )
}

pub(super) fn conference_deleted() -> Refusal {
    Refusal::new(ErrorCode::NotFound, "the conference was deleted")
}

pub(super) fn no_relay() -> Refusal {
    Refusal::new(
        ErrorCode::NoRelay,
        "no relay carries voice for this server now: its operator has to start confab-relay, or one with more room",
    )
    .after(PLACE_RETRY)
}

pub(super) fn relay_full() -> Refusal {
    Refusal::new(
        ErrorCode::NoRelay,
        "the room's relay has no place for another; try again later",
    )
}

pub(super) fn relay_incompatible() -> Refusal {
    Refusal::new(
        ErrorCode::Internal,
        "the room's relay did not understand the server; its log says why",
    )
}

pub(super) fn relay_silent() -> Refusal {
    Refusal::new(
        ErrorCode::Busy,
        "the relay has not answered; try again in a moment",
    )
    .after(RELAY_RETRY)
}
