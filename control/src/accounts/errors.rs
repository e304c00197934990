//! Errors of operations on accounts and sessions. `refusals` has the sentences for clients.

use std::time::Duration;

use super::hashing::HashError;
use super::password::WeakPassword;
use crate::causes::from_causes;
use crate::invitations::RedeemError;
use crate::store::StoreError;

/// A limit of password checks was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttled {
    pub limit: PasswordLimit,
    /// Time until the next check is allowed.
    pub wait: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordLimit {
    /// Checks from one source.
    Source,
    /// Checks from one known device.
    Device,
    /// Checks for one account by signed-in clients.
    Account,
    /// Wrong passwords for one account.
    WrongPasswords,
    /// Wrong codes for one account.
    WrongCodes,
    /// Letters to one account, or from one source.
    Mails,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterError {
    /// Only the operator makes accounts here.
    Closed,
    /// Here an account needs an invitation.
    InvitationNeeded,
    Invitation(RedeemError),
    /// Names with `~` are guests'.
    GuestName,
    /// This server asks for an e-mail address.
    EmailNeeded,
    /// This server asks for a birthday.
    BirthdayNeeded,
    BirthdayInFuture,
    TooYoung {
        /// Minimum age in years.
        min_age: u8,
    },
    WeakPassword(WeakPassword),
    /// The account was created, but its first session was not.
    Login(LoginError),
    Throttled(Throttled),
    Hash(HashError),
    Store(StoreError),
}

/// Errors of the entry of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestError {
    /// The server takes no guests.
    NotHere,
    /// The name is too long, or a guest's already.
    Name,
    /// The conference is invitation-only, and the guest has none.
    InvitationOnly,
    Invitation(RedeemError),
    Throttled(Throttled),
    Store(StoreError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginError {
    WrongCredentials,
    /// An operator has disabled the account.
    Disabled,
    Throttled(Throttled),
    Hash(HashError),
    Store(StoreError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionError {
    Ended,
    /// The token of a bot or a guest is not exchanged.
    NotExchanged,
    Store(StoreError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevokeError {
    NoSuchSession,
    Store(StoreError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordCheckError {
    Wrong,
    Throttled(Throttled),
    Hash(HashError),
    Store(StoreError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangePasswordError {
    /// The session or the account has ended.
    Session(SessionError),
    WeakPassword(WeakPassword),
    OldPassword(PasswordCheckError),
    Hash(HashError),
    Store(StoreError),
}

/// Errors of a request for a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailError {
    /// This server sends no mail.
    NotHere,
    /// The account has no e-mail address.
    NoAddress,
    /// The address is verified already.
    Verified,
    /// The address is not verified: it is changed without a code.
    NotVerified,
    Session(SessionError),
    Throttled(Throttled),
    Store(StoreError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyEmailError {
    /// It is wrong or too old, or the account has no address.
    WrongCode,
    Session(SessionError),
    Throttled(Throttled),
    Store(StoreError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeEmailError {
    /// This server asks for an e-mail address.
    EmailNeeded,
    /// The address is verified, and there is no code of a mail to it.
    CodeNeeded,
    /// It is wrong, too old or used.
    WrongCode,
    Password(PasswordCheckError),
    Session(SessionError),
    Throttled(Throttled),
    Store(StoreError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResetPasswordError {
    /// It is wrong, too old or used, or the account has no verified address.
    WrongCode,
    WeakPassword(WeakPassword),
    Throttled(Throttled),
    Hash(HashError),
    Store(StoreError),
}

from_causes! {
    RegisterError: Invitation(RedeemError), WeakPassword(WeakPassword), Login(LoginError), Throttled(Throttled), Hash(HashError), Store(StoreError);
    GuestError: Invitation(RedeemError), Throttled(Throttled), Store(StoreError);
    LoginError: Throttled(Throttled), Hash(HashError), Store(StoreError);
    SessionError: Store(StoreError);
    RevokeError: Store(StoreError);
    PasswordCheckError: Throttled(Throttled), Hash(HashError), Store(StoreError);
    MailError: Session(SessionError), Throttled(Throttled), Store(StoreError);
    VerifyEmailError: Session(SessionError), Throttled(Throttled), Store(StoreError);
    ChangeEmailError: Password(PasswordCheckError), Session(SessionError), Throttled(Throttled), Store(StoreError);
    ResetPasswordError: WeakPassword(WeakPassword), Throttled(Throttled), Hash(HashError), Store(StoreError);
    ChangePasswordError: Session(SessionError), WeakPassword(WeakPassword), OldPassword(PasswordCheckError), Hash(HashError), Store(StoreError);
}
