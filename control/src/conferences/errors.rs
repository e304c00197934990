//! Why an operation on conferences fails. The sentences that clients read are in [`crate::refusals`].

use super::rights::Denied;
use crate::rooms::ChangeError;
use crate::store::StoreError;

/// Why a conference is not created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateError {
    /// The account owns as many conferences as it may.
    TooManyOwned {
        /// Conferences that an account may own.
        most: u64,
    },
    Store(StoreError),
}

/// Why a conference, or the list of its members, is not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewError {
    NoConference,
    Banned,
    /// The conference is by invitation, and the account is not a member.
    InvitationOnly,
    /// Members see the list of members, and the account is none.
    MembersOnly,
    Store(StoreError),
}

/// Why a conference is not deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteError {
    NoConference,
    NotOwner,
    Room(ChangeError),
    Store(StoreError),
}

/// Why an account does not leave a conference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaveError {
    NoConference,
    NotAMember,
    Owner,
    Banned,
    /// The account may not speak in a public conference, and leaving would lift that.
    Silenced,
    Room(ChangeError),
    Store(StoreError),
}

/// Why somebody is not invited, kicked, banned or muted, or gets no other role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModerationError {
    NoConference,
    NoAccount,
    /// The account has no right to it.
    Denied(Denied),
    NotAMember,
    TargetBanned,
    /// The conference has as many members as it takes.
    MembersFull {
        /// Members that a conference takes.
        most: u64,
    },
    Room(ChangeError),
    Store(StoreError),
}

/// No conference has this slug, or the store did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FindError {
    NoConference,
    Store(StoreError),
}

macro_rules! from {
    ($($error:ident: $($variant:ident($cause:ty)),*;)*) => {$($(
        impl From<$cause> for $error {
            fn from(cause: $cause) -> Self {
                Self::$variant(cause)
            }
        }
    )*)*};
}

from! {
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
