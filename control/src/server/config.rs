//! Everything that the operator decides.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use confab_protocol::control::Region;

use crate::accounts::AccountsConfig;
use crate::clients::ConnectionLimits;
use crate::clock::Clock;
use crate::domain::NodeName;
use crate::rooms::RoomLimits;
use crate::store::Store;
use crate::store::cql::config::CqlConfig;
use crate::tls::certificates::OwnCertificate;

/// The settings of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Keys, certificates and the embedded store.
    pub data_dir: PathBuf,
    /// What outlives the process.
    pub store: StoreConfig,
    /// This node among the others of its cluster.
    pub node: NodeConfig,
    /// Shown to clients instead of the cluster's certificate.
    pub own_certificate: Option<OwnCertificate>,
    /// Further names of this server in the cluster's certificate.
    pub public_names: Vec<String>,
    pub accounts: AccountsConfig,
    /// Rooms and memberships.
    pub rooms: RoomLimits,
    /// Conferences that an account may own.
    pub max_conferences: u64,
    pub connections: ConnectionLimits,
    /// Handshakes that a source may begin at once; half as many a second from then on.
    pub handshakes: u32,
    /// Where this node is, for rooms to be placed near those who connect to it.
    pub region: Option<Region>,
    /// TCP address for metrics; `None`: there are none.
    pub metrics: Option<SocketAddr>,
    pub clock: Clock,
}

/// A node among others. With a file as the store there are no others.
#[derive(Clone, Debug, Default)]
pub struct NodeConfig {
    /// What it is called; made of the machine's name and the port when `None`.
    pub name: Option<NodeName>,
    /// Where the others reach it, HOST:PORT; the first of `public` when `None`.
    pub cluster_address: Option<String>,
    /// Where clients reach it, HOST:PORT each; made of the public names, or of the address on which it listens, when empty.
    pub public: Vec<String>,
}

/// Which store.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// A file of this machine; in the data folder when `None`.
    Sqlite(Option<PathBuf>),
    /// A database that several machines share.
    Cql(CqlConfig),
    /// One that is open already, and that several nodes of this process share.
    Shared(SharedStore),
}

/// A store that is open already.
#[derive(Clone)]
pub struct SharedStore(pub Arc<dyn Store>);

impl std::fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedStore")
    }
}
