//! Errors of operations on conferences. `refusals` has the sentences for clients.

use super::rights::Denied;
use crate::causes::from_causes;
use crate::rooms::ChangeError;
use crate::store::StoreError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateError {
    /// The account owns the maximum number of conferences.
    TooManyOwned {
        /// Maximum number of conferences that an account owns.
        most: u64,
    },
    Store(StoreError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewError {
    NoConference,
    Banned,
    /// The conference is invitation-only, and the account is not a member.
    InvitationOnly,
    /// The list of members is visible to members only.
    MembersOnly,
    Store(StoreError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteError {
    NoConference,
    NotOwner,
    Room(ChangeError),
    Store(StoreError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaveError {
    NoConference,
    NotAMember,
    Owner,
    Banned,
    /// The account is muted or a listener in a public conference. Leaving and joining again would lift that.
    Silenced,
    Room(ChangeError),
    Store(StoreError),
}

/// Errors of invitations, kicks, bans, mutes and changes of roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModerationError {
    NoConference,
    NoAccount,
    /// The account lacks the right.
    Denied(Denied),
    NotAMember,
    TargetBanned,
    /// The conference has its maximum of members.
    MembersFull {
        /// Maximum number of members.
        most: u64,
    },
    Room(ChangeError),
    Store(StoreError),
}

/// Errors of a lookup by slug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FindError {
    NoConference,
    Store(StoreError),
}

from_causes! {
    CreateError: Store(StoreError);
    ViewError: Store(StoreError);
    DeleteError: Room(ChangeError), Store(StoreError);
    LeaveError: Room(ChangeError), Store(StoreError);
    ModerationError: Denied(Denied), Room(ChangeError), Store(StoreError);
    FindError: Store(StoreError);
}

macro_rules! from_find {
    ($($error:ident),*) => {$(
        impl From<FindError> for $error {
            fn from(error: FindError) -> Self {
                match error {
                    FindError::NoConference => Self::NoConference,
                    FindError::Store(error) => Self::Store(error),
                }
            }
        }
    )*};
}

from_find!(ViewError, DeleteError, LeaveError, ModerationError);
