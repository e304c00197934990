//! Why a relay does not start, or ends by itself.

use std::io;
use std::net::SocketAddr;

use crate::descriptors;
use crate::identity::IdentityError;
use crate::io::{BindError, TransmitError};
use crate::link::NameInUse;
use crate::tasks::TaskFailed;

/// The reason why the relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No packet sockets.
    #[error(transparent)]
    Transmit(#[from] TransmitError),
    /// No identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No thread.
    #[error("cannot start a worker's thread: {0}")]
    Thread(io::Error),
    /// No socket for metrics.
    #[error(
        "cannot listen on TCP {address} for metrics: {error}; {}",
        descriptors::advice(error).unwrap_or("choose another address with --metrics")
    )]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// A flag has an invalid value.
    #[error("{0}")]
    Flags(String),
}

/// The process has to end: a part of the relay stopped by itself, or another relay has its name.
#[derive(Debug, thiserror::Error)]
pub enum Died {
    /// A worker's thread.
    #[error("worker {index} stopped: {cause}")]
    Worker {
        /// Which.
        index: usize,
        /// Why.
        cause: String,
    },
    /// A task.
    #[error(transparent)]
    Task(#[from] TaskFailed),
    /// Another relay was first.
    #[error(transparent)]
    NameInUse(#[from] NameInUse),
}
