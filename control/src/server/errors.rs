//! Why a server does not start.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::cluster::nodes::heartbeat::NodeError;
use crate::store::StoreError;
use crate::tls::TlsError;

/// The file with the server's id in a data folder.
pub(super) const OWNER_FILE: &str = "server.id";

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    /// No socket for metrics.
    #[error("cannot listen on TCP {address} for metrics: {source}; choose another with --metrics")]
    Metrics {
        address: SocketAddr,
        source: std::io::Error,
    },
    /// Another server has the folder.
    #[error(
        "another server runs on {0}: stop it, or give this one a folder of its own with --data-dir"
    )]
    InUse(PathBuf),
    /// Keys or certificates are not in order.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Keys and store do not belong together.
    #[error(transparent)]
    WrongStore(#[from] WrongStore),
    /// The store cannot be used.
    #[error("the store cannot be opened: {0}")]
    Store(#[from] StoreError),
    /// The node cannot be one of the cluster's.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// No name for this node could be made up.
    #[error("this machine's name makes no name for a node: give one with --node")]
    NoNodeName,
}

/// Keys and store do not belong together.
#[derive(Debug, thiserror::Error)]
pub enum WrongStore {
    /// Files of a server that was in use are not there.
    #[error(
        "{folder} is of a server that was in use, and {missing} is not in it: restore it from the backup of a node's data folder, or give another folder with --data-dir"
    )]
    KeyLost {
        folder: PathBuf,
        missing: &'static str,
    },
    /// The keys are of a server that was in use, and the store is new.
    #[error(
        "{store} is empty, but {folder} has the keys of a server that was in use: restore the store from its backup, or name the right one with --store; to begin anew with these keys, remove {folder}/{OWNER_FILE}"
    )]
    Empty { store: String, folder: PathBuf },
    /// Both are in use, by two servers.
    #[error(
        "{store} is of another server than the keys in {folder}: give the right ones with --store and --data-dir"
    )]
    Another { store: String, folder: PathBuf },
    /// The store is of a server whose keys are elsewhere.
    #[error(
        "{store} is of a server whose keys are not in {folder}: copy them from a node of it with `confab-control cluster-keys`, restore them from their backup, or give the right folder with --data-dir"
    )]
    NoKeys { store: String, folder: PathBuf },
}
