//! Errors of operations on conferences. `refusals` has the sentences for clients.

use confab_protocol::control::room::Role;

use super::rights::Denied;
use crate::causes::from_causes;
use crate::invitations::MembersFull;
use crate::rooms::ChangeError;
use crate::store::StoreError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateError {
    /// Only the operator creates conferences here.
    OperatorOnly,
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

/// Errors of a change of the title, or of who may join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeConferenceError {
    NoConference,
    NotOwner,
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
    /// The account is a member with another role than the invitation's.
    HasRole(Role),
    /// A ban is to be lifted, and there is none.
    NotBanned,
    TargetBanned,
    MembersFull(MembersFull),
    Room(ChangeError),
    Store(StoreError),
}

/// Errors of an operator's change of the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferError {
    NoConference,
    NoAccount,
    /// The new owner's account is disabled.
    Disabled,
    /// The new owner is a bot or a guest.
    NoPerson,
    /// The new owner is banned from the conference.
    Banned,
    MembersFull(MembersFull),
    Room(ChangeError),
    Store(StoreError),
}

/// Errors of an operator's creation of a conference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateForError {
    /// There is no account of the owner's name.
    NoAccount,
    /// The owner's account is disabled.
    Disabled,
    /// The owner is a bot or a guest.
    NoPerson,
    Store(StoreError),
}

/// Errors of the making, listing and revoking of invitations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvitationError {
    NoConference,
    /// The account lacks the right.
    Denied(Denied),
    /// The conference has the maximum of invitations that are still good.
    TooMany {
        /// Maximum number of invitations.
        most: usize,
    },
    NoSuchInvitation,
    Store(StoreError),
}

/// Errors of a deletion by an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoveError {
    NoConference,
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
    ChangeConferenceError: Store(StoreError);
    DeleteError: Room(ChangeError), Store(StoreError);
    LeaveError: Room(ChangeError), Store(StoreError);
    ModerationError: Denied(Denied), MembersFull(MembersFull), Room(ChangeError), Store(StoreError);
    TransferError: MembersFull(MembersFull), Room(ChangeError), Store(StoreError);
    RemoveError: Room(ChangeError), Store(StoreError);
    CreateForError: Store(StoreError);
    InvitationError: Denied(Denied), Store(StoreError);
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

from_find!(
    ViewError,
    ChangeConferenceError,
    DeleteError,
    LeaveError,
    ModerationError,
    TransferError,
    RemoveError,
    InvitationError
);
