//! Why there is no connection, and why a request has no answer.

use confab_protocol::control::room::BadField;
use confab_protocol::control::text::Shown;
use confab_protocol::control::{ErrorCode, Refusal};
use quinn::ConnectionError;

use super::Server;
use super::trust::TrustError;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name does not resolve.
    #[error("cannot find the server {server}: {reason}; check --server and the network")]
    NoAddress {
        server: String,
        /// The resolver's error.
        reason: String,
    },
    /// No answer, or not that of a Confab server.
    #[error(
        "cannot reach the server {server}: {reason}; check --server, the network and that the server runs"
    )]
    Unreachable { server: String, reason: String },
    /// The server is not the one it should be.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// No version in common.
    #[error(
        "the server {0} speaks no version of the protocol that this client does: update the older of the two"
    )]
    Version(String),
    /// The hello was refused.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Another node has the room.
    #[error("the room is at another node of the server: try again")]
    Elsewhere(Vec<Server>),
    #[error("the connection to the server was lost ({0}): try again")]
    Lost(String),
    /// The server took too long.
    #[error("the server did not answer in time: try again")]
    Timeout,
    /// The room's keys are made in a way that this client does not know, or knows no more.
    #[error(
        "this server offers an old or unknown way of end-to-end encryption: scheme {0} in place of MLS; update the older of server and client"
    )]
    KeyScheme(i32),
    /// The answer is not what the protocol asks for.
    #[error("the server sent {0}: update the older of server and client")]
    Malformed(&'static str),
}

impl ApiError {
    /// The refusal's code, when it is one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            _ => None,
        }
    }
}

impl From<ConnectionError> for ApiError {
    fn from(error: ConnectionError) -> Self {
        Self::Lost(plain(&error))
    }
}

impl From<BadField> for ApiError {
    fn from(error: BadField) -> Self {
        tracing::debug!(error = %Shown(error), "an answer that is not what the protocol asks for");
        Self::Malformed("an answer with a bad field")
    }
}

/// A connection's error, for people.
pub(super) fn plain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TimedOut => "nobody answers".into(),
        error => error.to_string(),
    }
}
