//! Why there are no figures.

use confab_control::store::StoreError;
use confab_control::store::sqlite::OpenError;
use confab_testdb::NoDatabase;

use crate::fleet::FleetError;

/// Why control is not measured.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A program did not do what it should.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// No connection to control.
    #[error(transparent)]
    Connect(#[from] confab::net::ConnectError),
    /// Control refused something.
    #[error("control refused {what}: {error}")]
    Refused {
        /// The request.
        what: &'static str,
        /// The refusal.
        error: confab::net::ApiError,
    },
    /// A store did not do what it should.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    /// A store's file cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No database.
    #[error(transparent)]
    Database(#[from] NoDatabase),
    /// A file, a socket or a process.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A task of the bench failed.
    #[error("a task of the bench failed: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// Something that cannot be measured.
    #[error("{0}")]
    Other(&'static str),
}
