//! The failure of a command: one line for the person, one code for a script.

use std::time::Duration;

use confab_console::WriteError;
use confab_protocol::control::{ErrorCode, NameError, Refusal};

use crate::audio::AudioError;
use crate::net::sign_in::SignInError;
use crate::net::{ApiError, ConnectError, TrustError};
use crate::store::StoreError;

/// How the program ends. The numbers are documented and do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    /// Anything that has no code of its own.
    Other = 1,
    /// The command line, or a value in it, is wrong.
    Usage = 2,
    /// Not signed in, wrong password, session over.
    Auth = 3,
    /// No such conference, account, member or session.
    NotFound = 4,
    /// Not allowed, banned, kicked, or full.
    Denied = 5,
    /// The server is not there, is not the one it should be, or has no room now.
    Network = 6,
    /// A sound file, the disk under it, or a device.
    Audio = 7,
    /// Server and client speak no version in common.
    Version = 8,
    /// Standard output cannot be written to, or has no reader.
    Output = 9,
    /// A command other than `join` was ended by SIGHUP.
    HungUp = 129,
    Interrupted = 130,
    /// A command other than `join` was ended by SIGTERM.
    Terminated = 143,
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The program's exit code.
    pub exit: Exit,
    /// For programs; lower case, words joined by `_`.
    pub code: String,
    /// For the person: what is wrong and what to do. One line.
    pub message: String,
}

impl Failure {
    /// A failure of its own kind.
    pub fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.to_owned(),
            message: message.into(),
        }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        Self::new(Exit::Output, "output", error.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let name = refusal.code.as_str_name();
        let code = name.trim_start_matches("ERROR_CODE_").to_ascii_lowercase();
        let message = match refusal.retry_after {
            Some(wait) => with_wait(&refusal.message, wait),
            None => refusal.message,
        };
        Self {
            exit: exit_of(refusal.code),
            code,
            message,
        }
    }
}

/// The message with the time after which to try again, once.
fn with_wait(message: &str, wait: Duration) -> String {
    let seconds = wait.as_secs_f64().ceil();
    match message.strip_suffix("try again in a moment") {
        Some(before) => format!("{before}try again in {seconds:.0} s"),
        None if message.contains("try again in") => message.to_owned(),
        None => format!("{message}; try again in {seconds:.0} s"),
    }
}

const fn exit_of(code: ErrorCode) -> Exit {
    match code {
        ErrorCode::InvalidArgument
        | ErrorCode::WeakPassword
        | ErrorCode::UsernameTaken
        | ErrorCode::EmailTaken
        | ErrorCode::SlugTaken
        | ErrorCode::TooYoung => Exit::Usage,
        ErrorCode::NotAuthenticated
        | ErrorCode::BadCredentials
        | ErrorCode::BadCode
        | ErrorCode::SessionEnded => Exit::Auth,
        ErrorCode::NotFound => Exit::NotFound,
        ErrorCode::Denied | ErrorCode::Banned | ErrorCode::Owner | ErrorCode::LimitReached => {
            Exit::Denied
        }
        ErrorCode::Throttled | ErrorCode::Busy | ErrorCode::NoRelay => Exit::Network,
        ErrorCode::UnsupportedVersion | ErrorCode::UnknownRequest => Exit::Version,
        ErrorCode::Unspecified
        | ErrorCode::Internal
        | ErrorCode::Malformed
        | ErrorCode::TooLarge
        | ErrorCode::HelloRequired => Exit::Other,
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Refused(refusal) => refusal.into(),
            ApiError::Lost(_) | ApiError::Timeout | ApiError::Elsewhere(_) => {
                Self::new(Exit::Network, "connection_lost", error.to_string())
            }
            ApiError::KeyScheme(_) => {
                Self::new(Exit::Version, "unknown_encryption", error.to_string())
            }
            ApiError::Malformed(_) => {
                Self::new(Exit::Version, "malformed_answer", error.to_string())
            }
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Api(error) => error.into(),
            ConnectError::Trust(error) => error.into(),
            ConnectError::Version(_) => {
                Self::new(Exit::Version, "unsupported_version", error.to_string())
            }
            error => Self::new(Exit::Network, "unreachable", error.to_string()),
        }
    }
}

impl From<SignInError> for Failure {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Connect(error) => error.into(),
            SignInError::Store(error) => error.into(),
            SignInError::Api(error) => error.into(),
            SignInError::NotLoggedIn(_) => {
                Self::new(Exit::Auth, "not_authenticated", error.to_string())
            }
            SignInError::SessionOver(_) | SignInError::TokenOver(_) => {
                Self::new(Exit::Auth, "session_ended", error.to_string())
            }
        }
    }
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        let exit = match error {
            TrustError::NoSuchFile { .. } | TrustError::NotCertificates { .. } => Exit::Usage,
            _ => Exit::Network,
        };
        Self::new(exit, "untrusted_server", error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(Exit::Other, "config_directory", error.to_string())
    }
}

impl From<AudioError> for Failure {
    fn from(error: AudioError) -> Self {
        match error {
            AudioError::Taken { .. } => Self::usage(error.to_string()),
            AudioError::NoReader => Self::new(Exit::Output, "output", error.to_string()),
            error => Self::new(Exit::Audio, "audio", error.to_string()),
        }
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Self::new(Exit::Usage, "invalid_argument", error.to_string())
    }
}
