//! Errors of conferences, memberships and moderation.

use confab_protocol::control::room::role_name;
use confab_protocol::control::{ErrorCode, Refusal};

use super::rooms::{invitation_only, members_full};
use crate::conferences::errors::{
    ChangeConferenceError, CreateError, CreateForError, DeleteError, FindError, InvitationError,
    LeaveError, ModerationError, RemoveError, TransferError, ViewError,
};
use crate::conferences::rights::Denied;
use crate::invitations::{MembersFull, RedeemError};

impl From<CreateError> for Refusal {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::OperatorOnly => Self::new(
                ErrorCode::Denied,
                "on this server only the operator creates conferences: ask for one",
            ),
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

impl From<ChangeConferenceError> for Refusal {
    fn from(error: ChangeConferenceError) -> Self {
        match error {
            ChangeConferenceError::NoConference => no_conference(),
            ChangeConferenceError::NotOwner => Self::new(
                ErrorCode::Denied,
                "only the owner may change the title and who may join",
            ),
            ChangeConferenceError::Store(error) => error.into(),
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
            ModerationError::HasRole(role) => Self::new(
                ErrorCode::Denied,
                format!(
                    "this account is a {} already: `confab conference role` gives it another role",
                    role_name(role)
                ),
            ),
            ModerationError::NotBanned => Self::new(
                ErrorCode::NotFound,
                "this account is not banned from the conference",
            )
            .about("username"),
            ModerationError::TargetBanned => Self::new(
                ErrorCode::Banned,
                "this account is banned: `confab conference unban` lifts that",
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
            TransferError::Disabled => disabled(),
            TransferError::NoPerson => no_person(),
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

impl From<CreateForError> for Refusal {
    fn from(error: CreateForError) -> Self {
        match error {
            CreateForError::NoAccount => no_account(),
            CreateForError::Disabled => disabled(),
            CreateForError::NoPerson => no_person(),
            CreateForError::Store(error) => error.into(),
        }
    }
}

impl From<InvitationError> for Refusal {
    fn from(error: InvitationError) -> Self {
        match error {
            InvitationError::NoConference => no_conference(),
            InvitationError::Denied(denied) => denied.into(),
            InvitationError::TooMany { most } => Self::new(
                ErrorCode::LimitReached,
                format!(
                    "the conference has {most} invitations that are still good, the maximum: revoke one first"
                ),
            ),
            InvitationError::NoSuchInvitation => Self::new(
                ErrorCode::NotFound,
                "the conference has no such invitation: it may have expired",
            )
            .about("id"),
            InvitationError::Store(error) => error.into(),
        }
    }
}

impl From<RedeemError> for Refusal {
    fn from(error: RedeemError) -> Self {
        match error {
            RedeemError::NoConference => no_conference(),
            RedeemError::NotGood => Self::new(
                ErrorCode::NotFound,
                "this invitation is not good any more: it has expired, was used up or was revoked; ask for another",
            )
            .about("token"),
            RedeemError::Banned => banned(),
            RedeemError::MembersFull(MembersFull { most }) => members_full(most),
            RedeemError::Store(error) => error.into(),
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

fn disabled() -> Refusal {
    let message = "this account is disabled: enable it first, or choose another";
    Refusal::new(ErrorCode::Denied, message)
}

fn no_person() -> Refusal {
    let message = "this is a bot or a guest, which can do nothing with a conference of its own: choose a person";
    Refusal::new(ErrorCode::Denied, message)
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
