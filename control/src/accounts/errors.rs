//! Why an operation on accounts or sessions fails. The sentences that clients read are in [`crate::refusals`].

use std::time::Duration;

use super::hashing::HashError;
use super::password::WeakPassword;
use crate::store::StoreError;

/// Too many passwords were checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttled {
    pub limit: PasswordLimit,
    /// Time until the next check.
    pub wait: Duration,
}

/// A limit of password checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordLimit {
    /// Checks for one source.
    Source,
    /// Checks for one known device.
    Device,
    /// Checks for one signed-in account.
    Account,
    /// Wrong passwords for one account.
    WrongPasswords,
}

/// Why an account is not registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterError {
    /// The birthday lies in the future.
    BirthdayInFuture,
    /// The person is too young.
    TooYoung {
        /// Age at which one may register, in years.
        min_age: u8,
    },
    /// The password is easy to guess.
    WeakPassword(WeakPassword),
    /// The account was made, and its first session was not begun.
    Login(LoginError),
    Throttled(Throttled),
    /// The password was not hashed.
    Hash(HashError),
    Store(StoreError),
}

/// Why a log-in fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginError {
    WrongCredentials,
    Throttled(Throttled),
    /// The password was not checked.
    Hash(HashError),
    Store(StoreError),
}

/// Why a session does not act for its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionError {
    Ended,
    Store(StoreError),
}

/// Why a session is not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevokeError {
    /// The account has no such session.
    NoSuchSession,
    Store(StoreError),
}

/// Why the password of a signed-in account is not confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordCheckError {
    Wrong,
    Throttled(Throttled),
    /// The password was not checked.
    Hash(HashError),
    Store(StoreError),
}

/// Why a password is not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangePasswordError {
    /// The session, or its account, has ended.
    Session(SessionError),
    /// The new password is easy to guess.
    WeakPassword(WeakPassword),
    /// The old password was not confirmed.
    OldPassword(PasswordCheckError),
    /// The new password was not hashed.
    Hash(HashError),
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
    RegisterError: WeakPassword(WeakPassword), Login(LoginError), Throttled(Throttled), Hash(HashError), Store(StoreError);
    LoginError: Throttled(Throttled), Hash(HashError), Store(StoreError);
    SessionError: Store(StoreError);
    RevokeError: Store(StoreError);
    PasswordCheckError: Throttled(Throttled), Hash(HashError), Store(StoreError);
    ChangePasswordError: Session(SessionError), WeakPassword(WeakPassword), OldPassword(PasswordCheckError), Hash(HashError), Store(StoreError);
}
