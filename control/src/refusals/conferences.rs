//! Errors of conferences, memberships and moderation.

use confab_protocol::control::{ErrorCode, Refusal};

use super::rooms::{invitation_only, members_full};
use crate::conferences::errors::{
    CreateError, DeleteError, FindError, LeaveError, MembersFull, ModerationError, RemoveError,
    TransferError, ViewError,
};
use crate::conferences::rights::Denied;

impl From<CreateError> for Refusal {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::TooManyOwned { most } => Self::new(
                ErrorCode::LimitReached,
                format!("you own {most} conferences, the maximum: delete one first"),
            ),
            CreateError::Store(error) => error.into(),
        }
    }
}

impl From<FindError> for Refusal {
    fn from(error: FindError) -> Self {
        match error {
            FindError::NoConference => no_conference(),
            FindError::Store(error) => error.into(),
        }
    }
}

impl From<ViewError> for Refusal {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::NoConference => no_conference(),
            ViewError::Banned => banned(),
            ViewError::InvitationOnly => invitation_only(),
            ViewError::MembersOnly => Self::new(
                ErrorCode::Denied,
                "only members may see who else is a member: join first",
            ),
            ViewError::Store(error) => error.into(),
        }
    }
}

impl From<DeleteError> for Refusal {
    fn from(error: DeleteError) -> Self {
        match error {
            DeleteError::NoConference => no_conference(),
            DeleteError::NotOwner => Self::new(
                ErrorCode::Denied,
                "only the owner may delete the conference",
            ),
            DeleteError::Room(error) => error.into(),
            DeleteError::Store(error) => error.into(),
        }
    }
}

impl From<LeaveError> for Refusal {
    fn from(error: LeaveError) -> Self {
        match error {
            LeaveError::NoConference => no_conference(),
            LeaveError::NotAMember => Self::new(
                ErrorCode::NotFound,
                "you are not a member of this conference",
            ),
            LeaveError::Owner => Self::new(
                ErrorCode::Owner,
                "the owner cannot leave: delete the conference instead",
            ),
            LeaveError::Banned => banned(),
            LeaveError::Silenced => Self::new(
                ErrorCode::Denied,
                "you are muted or a listener here, and leaving would lift that: ask a moderator to remove you",
            ),
            LeaveError::Room(error) => error.into(),
            LeaveError::Store(error) => error.into(),
        }
    }
}

impl From<ModerationError> for Refusal {
    fn from(error: ModerationError) -> Self {
        match error {
            ModerationError::NoConference => no_conference(),
            ModerationError::NoAccount => no_account(),
            ModerationError::Denied(denied) => denied.into(),
            ModerationError::NotAMember => Self::new(
                ErrorCode::NotFound,
                "this account is not a member of the conference: invite it first",
            )
            .about("username"),
            ModerationError::TargetBanned => Self::new(
                ErrorCode::Banned,
                "this account is banned: give it a role to lift the ban",
            ),
            ModerationError::MembersFull(MembersFull { most }) => members_full(most),
            ModerationError::Room(error) => error.into(),
            ModerationError::Store(error) => error.into(),
        }
    }
}

impl From<TransferError> for Refusal {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::NoConference => no_conference(),
            TransferError::NoAccount => no_account(),
            TransferError::Disabled => Self::new(
                ErrorCode::Denied,
                "this account is disabled: enable it first, or choose another",
            ),
            TransferError::Banned => Self::new(
                ErrorCode::Banned,
                "this account is banned from the conference: its owner or a moderator has to lift the ban first",
            ),
            TransferError::MembersFull(MembersFull { most }) => members_full(most),
            TransferError::Room(error) => error.into(),
            TransferError::Store(error) => error.into(),
        }
    }
}

impl From<RemoveError> for Refusal {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::NoConference => no_conference(),
            RemoveError::Room(error) => error.into(),
            RemoveError::Store(error) => error.into(),
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        let denied_for = |message: &str| Self::new(ErrorCode::Denied, message);
        match denied {
            Denied::RoleNotGiven => Self::invalid("role", "this role cannot be given"),
            Denied::Banned => banned(),
            Denied::NotAModerator => {
                denied_for("only the owner and the moderators of the conference may do this")
            }
            Denied::TargetIsOwner => Self::new(
                ErrorCode::Owner,
                "the owner cannot be demoted, silenced, kicked or banned",
            ),
            Denied::TargetIsModerator => denied_for("only the owner may do this to a moderator"),
            Denied::OwnerMakesModerators => denied_for("only the owner may appoint a moderator"),
        }
    }
}

pub(super) fn no_account() -> Refusal {
    Refusal::new(ErrorCode::NotFound, "there is no account with this name").about("username")
}

fn no_conference() -> Refusal {
    Refusal::new(
        ErrorCode::NotFound,
        "there is no conference with this slug: check its spelling",
    )
    .about("slug")
}

fn banned() -> Refusal {
    Refusal::new(ErrorCode::Banned, "you are banned from this conference")
}
