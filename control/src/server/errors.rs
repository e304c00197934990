//! Errors of a server's start.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::audit;
use crate::cluster::nodes::heartbeat::NodeError;
use crate::store::{StoreError, sqlite};
use crate::tls::TlsError;

/// The file in the data folder with the server's ID, as 32 hexadecimal digits.
pub(super) const OWNER_FILE: &str = "server.id";

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("cannot listen on TCP {address} for metrics: {source}; choose another with --metrics")]
    Metrics {
        address: SocketAddr,
        source: std::io::Error,
    },
    /// Another server has locked the data folder.
    #[error(
        "another server runs on {0}: stop it, or give this one a folder of its own with --data-dir"
    )]
    InUse(PathBuf),
    /// The audit log cannot be opened.
    #[error(transparent)]
    Audit(#[from] audit::OpenError),
    /// The mail server cannot be used as its URL says.
    #[error("--smtp-url cannot be used: {0}")]
    Mail(#[from] lettre::transport::smtp::Error),
    /// Keys or certificates are missing or invalid.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Keys and store belong to different servers.
    #[error(transparent)]
    WrongStore(#[from] WrongStore),
    /// The store's file cannot be opened.
    #[error("the store cannot be opened: {0}")]
    StoreFile(#[from] sqlite::OpenError),
    #[error("the store cannot be opened: {0}")]
    Store(#[from] StoreError),
    /// The node cannot join the cluster.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The machine's name is not a valid node name.
    #[error("cannot make a node name from this machine's name: give one with --node")]
    NoNodeName,
}

/// Keys and store belong to different servers.
#[derive(Debug, thiserror::Error)]
pub enum WrongStore {
    /// The folder is in use, but a file is missing.
    #[error(
        "{folder} belongs to a server in use, but {missing} is missing: restore it from the backup of a node's data folder, or give another folder with --data-dir"
    )]
    KeyLost {
        folder: PathBuf,
        missing: &'static str,
    },
    /// The folder is in use, but the store is empty.
    #[error(
        "{store} is empty, but {folder} has the keys of a server in use: restore the store from its backup, or name the right one with --store; to begin anew with these keys, remove {folder}/{OWNER_FILE}"
    )]
    Empty { store: String, folder: PathBuf },
    /// Folder and store are in use by different servers.
    #[error(
        "{store} belongs to another server than the keys in {folder}: give the right ones with --store and --data-dir"
    )]
    Another { store: String, folder: PathBuf },
    /// The store is in use, but the folder has no keys.
    #[error(
        "{store} belongs to a server whose keys are not in {folder}: copy them from a node of it with `confab-control cluster-keys`, restore them from their backup, or give the right folder with --data-dir"
    )]
    NoKeys { store: String, folder: PathBuf },
}
