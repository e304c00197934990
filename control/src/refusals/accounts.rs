//! Errors of accounts, sessions and passwords.

use std::time::Duration;

use confab_protocol::control::{ErrorCode, Refusal, Username};

use super::conferences::no_account;
use super::rooms::invitation_only;

use crate::accounts::errors::{
    ChangeEmailError, ChangePasswordError, GuestError, LoginError, MailError, PasswordCheckError,
    PasswordLimit, RegisterError, ResetPasswordError, RevokeError, SessionError, Throttled,
    VerifyEmailError,
};
use crate::accounts::hashing::HashError;
use crate::accounts::password::{MIN_OWN_CHARACTERS, WeakPassword};
use crate::accounts::service::OperatorError;
use crate::invitations::RedeemError;
use crate::store::{Name, StoreError};

/// Time in which a few hashes are computed.
const BUSY_RETRY: Duration = Duration::from_millis(500);

impl From<RegisterError> for Refusal {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Closed => Self::new(
                ErrorCode::Denied,
                "on this server only the operator makes accounts: ask for one",
            ),
            RegisterError::InvitationNeeded => Self::new(
                ErrorCode::Denied,
                "this server takes new accounts by invitation only: ask somebody who is there for a link, and follow it with `confab join LINK`",
            ),
            RegisterError::Invitation(error) => error.into(),
            RegisterError::GuestName => guest_name(),
            RegisterError::EmailNeeded => Self::invalid(
                "email",
                "this server asks for an e-mail address to register: give it with --email",
            ),
            RegisterError::BirthdayNeeded => Self::invalid(
                "birthday",
                "this server asks for the day of birth to register: give it with --birthday YYYY-MM-DD",
            ),
            RegisterError::BirthdayInFuture => {
                Self::invalid("birthday", "a birthday does not lie in the future")
            }
            RegisterError::TooYoung { min_age } => Self::new(
                ErrorCode::TooYoung,
                format!("the minimum age to register is {min_age} years"),
            )
            .about("birthday"),
            RegisterError::WeakPassword(weak) => Self::from(weak).about("password"),
            RegisterError::Login(error) => error.into(),
            RegisterError::Throttled(error) => error.into(),
            RegisterError::Hash(error) => error.into(),
            RegisterError::Store(error) => error.into(),
        }
    }
}

impl From<LoginError> for Refusal {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::WrongCredentials => Self::new(
                ErrorCode::BadCredentials,
                "the name or the password is wrong",
            ),
            LoginError::Disabled => Self::new(
                ErrorCode::Denied,
                "this account is disabled: only the server's operator can enable it",
            ),
            LoginError::Throttled(error) => error.into(),
            LoginError::Hash(error) => error.into(),
            LoginError::Store(error) => error.into(),
        }
    }
}

impl From<SessionError> for Refusal {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Ended => Self::new(
                ErrorCode::SessionEnded,
                "this session has ended: log in again",
            ),
            SessionError::NotExchanged => Self::new(
                ErrorCode::Denied,
                "the token of a bot or a guest is not exchanged",
            ),
            SessionError::Store(error) => error.into(),
        }
    }
}

impl From<RevokeError> for Refusal {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::NoSuchSession => Self::new(
                ErrorCode::NotFound,
                "you have no such session: it may have ended already",
            )
            .about("id"),
            RevokeError::Store(error) => error.into(),
        }
    }
}

impl From<PasswordCheckError> for Refusal {
    fn from(error: PasswordCheckError) -> Self {
        match error {
            PasswordCheckError::Wrong => {
                Self::new(ErrorCode::BadCredentials, "the password is wrong").about("password")
            }
            PasswordCheckError::Throttled(error) => error.into(),
            PasswordCheckError::Hash(error) => error.into(),
            PasswordCheckError::Store(error) => error.into(),
        }
    }
}

impl From<ChangePasswordError> for Refusal {
    fn from(error: ChangePasswordError) -> Self {
        match error {
            ChangePasswordError::Session(error) => error.into(),
            ChangePasswordError::WeakPassword(weak) => Self::from(weak).about("new_password"),
            ChangePasswordError::OldPassword(error @ PasswordCheckError::Wrong) => {
                Self::from(error).about("old_password")
            }
            ChangePasswordError::OldPassword(error) => error.into(),
            ChangePasswordError::Hash(error) => error.into(),
            ChangePasswordError::Store(error) => error.into(),
        }
    }
}

impl From<MailError> for Refusal {
    fn from(error: MailError) -> Self {
        match error {
            MailError::NotHere => Self::new(
                ErrorCode::Denied,
                "this server sends no mail: its operator can set a new password (`confab-control users reset-password`)",
            ),
            MailError::NoAddress => Self::new(
                ErrorCode::Denied,
                "this account has no e-mail address: its password can be reset by the operator alone",
            ),
            MailError::Verified => Self::new(ErrorCode::Denied, "this address is verified already"),
            MailError::NotVerified => Self::new(
                ErrorCode::Denied,
                "this address is not verified: it is changed without a code",
            ),
            MailError::Session(error) => error.into(),
            MailError::Throttled(error) => error.into(),
            MailError::Store(error) => error.into(),
        }
    }
}

impl From<VerifyEmailError> for Refusal {
    fn from(error: VerifyEmailError) -> Self {
        match error {
            VerifyEmailError::WrongCode => wrong_code(),
            VerifyEmailError::Session(error) => error.into(),
            VerifyEmailError::Throttled(error) => error.into(),
            VerifyEmailError::Store(error) => error.into(),
        }
    }
}

impl From<ChangeEmailError> for Refusal {
    fn from(error: ChangeEmailError) -> Self {
        match error {
            ChangeEmailError::EmailNeeded => Self::invalid(
                "email",
                "this server asks for an e-mail address: an account has one, and may get another",
            ),
            ChangeEmailError::CodeNeeded => Self::new(
                ErrorCode::BadCode,
                "the account's address is verified: a change needs the code of a mail to it",
            )
            .about("code"),
            ChangeEmailError::WrongCode => wrong_code(),
            ChangeEmailError::Password(error) => error.into(),
            ChangeEmailError::Session(error) => error.into(),
            ChangeEmailError::Throttled(error) => error.into(),
            ChangeEmailError::Store(StoreError::Taken(Name::Email)) => Self::new(
                ErrorCode::EmailTaken,
                "another account has this e-mail address: nothing was changed",
            )
            .about("email"),
            ChangeEmailError::Store(error) => error.into(),
        }
    }
}

impl From<ResetPasswordError> for Refusal {
    fn from(error: ResetPasswordError) -> Self {
        match error {
            ResetPasswordError::WrongCode => wrong_code(),
            ResetPasswordError::WeakPassword(weak) => Self::from(weak).about("new_password"),
            ResetPasswordError::Throttled(error) => error.into(),
            ResetPasswordError::Hash(error) => error.into(),
            ResetPasswordError::Store(error) => error.into(),
        }
    }
}

/// Also for text that is no code.
pub(crate) fn wrong_code() -> Refusal {
    let message = "the code is wrong, too old, or used: ask for another";
    Refusal::new(ErrorCode::BadCode, message).about("code")
}

impl From<GuestError> for Refusal {
    fn from(error: GuestError) -> Self {
        match error {
            GuestError::NotHere => Self::new(
                ErrorCode::Denied,
                "this server takes no guests: log in, or make an account",
            ),
            GuestError::Name => Self::invalid(
                "name",
                format!(
                    "a guest's name has 3 to {} characters, without '~' and what the server adds behind it",
                    Username::MAX_OF_GUEST
                ),
            ),
            GuestError::InvitationOnly => invitation_only(),
            GuestError::Invitation(RedeemError::NoConference) => Self::new(
                ErrorCode::NotFound,
                "there is no conference of this name yet: somebody with an account opens it by joining it first",
            ),
            GuestError::Invitation(error) => error.into(),
            GuestError::Throttled(error) => error.into(),
            GuestError::Store(error) => error.into(),
        }
    }
}

fn guest_name() -> Refusal {
    Refusal::invalid("username", "only a guest's name has '~' in it")
}

impl From<OperatorError> for Refusal {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::NoSuchAccount => no_account(),
            OperatorError::NoPassword => Self::new(
                ErrorCode::Denied,
                "this is a bot or a guest, which has no password: `confab-control users new-token` makes another token for a bot",
            ),
            OperatorError::NoEmail => Self::new(
                ErrorCode::Denied,
                "this is a bot or a guest, which has no e-mail address",
            ),
            OperatorError::GuestName => guest_name(),
            OperatorError::NoBot => Self::new(
                ErrorCode::Denied,
                "this is the account of a person: only bots have tokens that can be shown (`confab-control users add-bot`)",
            ),
            OperatorError::WeakPassword(weak) => Self::from(weak).about("password"),
            OperatorError::Hash(error) => error.into(),
            OperatorError::Store(error) => error.into(),
        }
    }
}

impl From<WeakPassword> for Refusal {
    fn from(weak: WeakPassword) -> Self {
        let message = match weak {
            WeakPassword::Form(error) => error.to_string(),
            WeakPassword::Common => {
                "this is one of the most common passwords: choose a few words that nobody else would combine"
                    .to_owned()
            }
            WeakPassword::Repeated => {
                "the password repeats one or two characters: choose a few words that nobody else would combine"
                    .to_owned()
            }
            WeakPassword::Names => format!(
                "the password contains your username or e-mail address, which others know: add {MIN_OWN_CHARACTERS} or more other characters"
            ),
        };
        Self::new(ErrorCode::WeakPassword, message)
    }
}

impl From<Throttled> for Refusal {
    fn from(Throttled { limit, wait }: Throttled) -> Self {
        let what = match limit {
            PasswordLimit::Source => "too many sign-ins from your network",
            PasswordLimit::Device => "too many sign-ins from this device",
            PasswordLimit::Account => "too many password checks for this account",
            PasswordLimit::WrongPasswords => "too many wrong passwords for this account",
            PasswordLimit::WrongCodes => "too many wrong codes for this account",
            PasswordLimit::Mails => "too many mails were asked for",
        };
        let seconds = wait.as_secs() + 1;
        let message = format!("{what}; try again in {seconds} s");
        Self::new(ErrorCode::Throttled, message).after(wait)
    }
}

impl From<HashError> for Refusal {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::new(
                ErrorCode::Busy,
                "too many sign-ins at the moment; try again in a moment",
            )
            .after(BUSY_RETRY),
            HashError::Failed => {
                Self::new(ErrorCode::Internal, "the password could not be checked")
            }
        }
    }
}
