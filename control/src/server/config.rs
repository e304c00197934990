//! The settings of a server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use confab_e2ee::mls::Suite;
use confab_protocol::control::Region;

use crate::accounts::AccountsConfig;
use crate::clients::ConnectionLimits;
use crate::clock::Clock;
use crate::conferences::ConferenceLimits;
use crate::domain::NodeName;
use crate::mail::target::MailTarget;
use crate::rooms::RoomLimits;
use crate::store::Store;
use crate::store::cql::config::CqlConfig;
use crate::tls::certificates::OwnCertificate;
use crate::webhooks::target::WebhookTarget;

/// The settings of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// UDP address; port 0 selects a free port.
    pub listen: SocketAddr,
    /// Folder with keys, certificates and the embedded store.
    pub data_dir: PathBuf,
    pub store: StoreConfig,
    pub node: NodeConfig,
    /// Certificate for clients instead of the cluster's.
    pub own_certificate: Option<OwnCertificate>,
    /// Additional names in the cluster's certificate.
    pub public_names: Vec<String>,
    /// The audit log; `None` for none.
    pub audit: Option<AuditConfig>,
    /// The program that is told what happens in rooms; `None` for none.
    pub webhook: Option<WebhookTarget>,
    /// The mail server; `None`: no mail is sent.
    pub mail: Option<MailTarget>,
    pub accounts: AccountsConfig,
    pub rooms: RoomLimits,
    /// Cipher suite of the rooms' groups.
    pub group_suite: Suite,
    pub conferences: ConferenceLimits,
    pub connections: ConnectionLimits,
    /// Handshakes that a source may begin at once; half as many per second after that.
    pub handshakes: u32,
    /// Region of this node: rooms are placed near the clients that connect to it.
    pub region: Option<Region>,
    /// TCP address for metrics; `None` disables them.
    pub metrics: Option<SocketAddr>,
    pub clock: Clock,
}

/// This node in its cluster. With a SQLite store there are no other nodes.
#[derive(Clone, Debug, Default)]
pub struct NodeConfig {
    /// Name; `None`: the machine's name and the port.
    pub name: Option<NodeName>,
    /// Address for other nodes, HOST:PORT; `None`: the first of `public`.
    pub cluster_address: Option<String>,
    /// Addresses for clients, HOST:PORT each; if empty: the public names, or the listening address.
    pub public: Vec<String>,
}

/// The audit log.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    pub path: PathBuf,
    /// Whether its lines have clients' addresses.
    pub addresses: bool,
}

#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// A SQLite file; `None`: in the data folder.
    Sqlite(Option<PathBuf>),
    /// A CQL database, which several nodes can share.
    Cql(CqlConfig),
    /// An open store that several nodes of this process share. For tests.
    Shared(SharedStore),
}

#[derive(Clone)]
pub struct SharedStore(pub Arc<dyn Store>);

impl std::fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedStore")
    }
}
