//! Why an operation on conferences fails. The sentences that clients read are in `refusals`.

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
    /// The store did not do its part.
    Store(StoreError),
}

/// Why a conference, or the list of its members, is not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewError {
    /// No conference has this slug.
    NoConference,
    /// The account is banned from the conference.
    Banned,
    /// The conference is by invitation, and the account is not a member.
    InvitationOnly,
    /// Members see the list of members, and the account is none.
    MembersOnly,
    /// The store did not do its part.
    Store(StoreError),
}

/// Why a conference is not deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteError {
    /// No conference has this slug.
    NoConference,
    /// The account does not own the conference.
    NotOwner,
    /// The room did not close.
    Room(ChangeError),
    /// The store did not do its part.
    Store(StoreError),
}

/// Why an account does not leave a conference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaveError {
    /// No conference has this slug.
    NoConference,
    /// The account is not a member.
    NotAMember,
    /// The account owns the conference.
    Owner,
    /// The account is banned.
    Banned,
    /// The account may not speak in a public conference, and leaving would lift that.
    Silenced,
    /// The room did not change.
    Room(ChangeError),
    /// The store did not do its part.
    Store(StoreError),
}

/// Why somebody is not invited, kicked, banned or muted, or gets no other role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModerationError {
    /// No conference has this slug.
    NoConference,
    /// No account has this name.
    NoAccount,
    /// The account has no right to it.
    Denied(Denied),
    /// The other account is not a member.
    NotAMember,
    /// The other account is banned.
    TargetBanned,
    /// The conference has as many members as it takes.
    MembersFull {
        /// Members that a conference takes.
        most: u64,
    },
    /// The room did not change.
    Room(ChangeError),
    /// The store did not do its part.
    Store(StoreError),
}

/// No conference has this slug, or the store did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FindError {
    /// No conference has this slug.
    NoConference,
    /// The store did not do its part.
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
