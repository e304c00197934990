//! Errors of commands, and their exit codes.

use confab_console::WriteError;
use confab_protocol::control::ErrorCode;

use super::admin::InputError;
use super::companion::InnerError;
use crate::operator::OperatorError;
use crate::server::{ServeError, TaskLost};
use crate::tls::TlsError;

/// Errors that end the program.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A task of the server keeps failing.
    #[error(transparent)]
    Lost(#[from] TaskLost),
    /// The relay in this process does not start, or has stopped.
    #[error(transparent)]
    Inner(#[from] InnerError),
    /// Keys or certificates are missing or invalid.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An operator's request failed.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// The input of a command is missing, or contradicts itself.
    #[error(transparent)]
    Input(#[from] InputError),
    /// `check` has found something.
    #[error("{0} to be corrected")]
    ToCorrect(String),
    #[error(transparent)]
    System(#[from] std::io::Error),
    /// The command was carried out, but its answer could not be written.
    #[error(transparent)]
    Output(#[from] WriteError),
}

impl CommandError {
    /// Exit code: 2 if something to read was not there, 4 if what the command names does not exist, 6 if no node answers, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Input(_) => 2,
            Self::Operator(OperatorError::NoSuchRelay { .. }) => 4,
            Self::Operator(OperatorError::Refused(refusal))
                if refusal.code == ErrorCode::NotFound =>
            {
                4
            }
            Self::Operator(OperatorError::Node { .. }) => 6,
            _ => 1,
        }
    }
}
