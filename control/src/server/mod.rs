//! A control server: settings, start and shutdown.
//!
//! * `config`: the settings; `errors`: errors of a start;
//! * `parts`: creates the services; `socket`: opens the sockets; `storage`: opens the store and the keys; `owner`: checks that
//!   data folder and store belong to one server; `node`: the name and addresses of this node;
//! * `background`: background tasks; `supervision`: restarts tasks that end;
//! * `figures`: the metrics page; `check`: what would keep a server from starting.

mod background;
mod check;
mod config;
mod errors;
mod figures;
mod node;
mod owner;
mod parts;
#[cfg(test)]
mod restart_test;
mod socket;
mod storage;
mod supervision;

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use confab_protocol::wire;
use quinn::Endpoint;

use crate::accounts::service::AccountKeys;
use crate::audit::Audit;
use crate::cluster::nodes::heartbeat;
use crate::listener::transport;
use crate::mail::Mail;
use crate::metrics::Metrics;
use crate::rooms::group_keys::GroupKeys;
use crate::rooms::note::NoteKeys;
use crate::store::Store;
use crate::tls::authority::{Authority, CA_FILE};
use crate::tls::certificates::{Certificates, Sources};
use crate::tls::files::{self, Readers};
use crate::tls::{self, TlsError};
use crate::webhooks::Webhooks;
use crate::{api, close, listener, peer_api};

pub use check::check;
pub use config::{AuditConfig, Config, NodeConfig, SharedStore, StoreConfig};
pub use errors::{ServeError, WrongStore};
use figures::Figures;
use parts::{Keys, Parts};
use storage::TOKEN_KEY_FILE;
pub(crate) use storage::copy_cluster_keys;
use supervision::Supervisor;
pub use supervision::{Health, TaskLost};

/// The file with the server's address and fingerprint, for scripts.
pub const STATE_FILE: &str = "control.json";
/// Locked while a server runs, because two servers on one folder would own the same rooms.
const LOCK_FILE: &str = "control.lock";
/// Time after which clients reconnect after a shutdown.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
/// Time for clients to receive the notice of a shutdown.
const NOTICE_TIME: Duration = Duration::from_millis(300);
/// Time limit for closing connections.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// A running server. It ends by [`Running::shutdown`] or with its runtime.
pub struct Running {
    /// The address it listens on.
    pub addr: SocketAddr,
    /// Fingerprint of the cluster CA, which clients pin: `sha256:` and 64 hexadecimal digits.
    pub fingerprint: String,
    /// The file with the cluster CA's certificate.
    pub ca: PathBuf,
    /// The certificates, which can be reloaded.
    pub certificates: Arc<Certificates>,
    /// The address of the metrics.
    pub metrics: Option<SocketAddr>,
    parts: Parts,
    health: Health,
    store: Arc<dyn Store>,
    state_file: PathBuf,
    endpoint: Endpoint,
    /// Held while the server runs.
    _lock: File,
    tasks: Supervisor,
}

/// Starts the server on the caller's tokio runtime.
pub async fn serve(config: Config) -> Result<Running, ServeError> {
    let now = config.clock.now();
    files::make_folder(&config.data_dir)?;
    let lock = lock(&config.data_dir)?;
    let state_file = config.data_dir.join(STATE_FILE);
    // A file left by a server that was killed is stale.
    let _ = std::fs::remove_file(&state_file);
    let metrics = Metrics::default();
    let audit = match &config.audit {
        Some(AuditConfig { path, addresses }) => {
            Audit::open(path, *addresses, config.clock.clone())?
        }
        None => Audit::default(),
    };
    let store = storage::open_own_store(&config, &metrics).await?;
    let authority = Authority::open_or_create(&config.data_dir, now)?;
    let (fingerprint, digest) = (authority.fingerprint(), authority.digest());
    let sources = Sources {
        authority: Arc::new(authority),
        data_dir: config.data_dir.clone(),
        public_names: config.public_names.clone(),
        own: config.own_certificate.clone(),
        clock: config.clock.clone(),
    };
    let key = files::key(&config.data_dir.join(TOKEN_KEY_FILE))?;
    let keys = Keys {
        accounts: AccountKeys::new(&key),
        notes: NoteKeys::new(&key),
        groups: GroupKeys::new(&key, &digest, config.group_suite),
    };
    let listen = |source| ServeError::Listen {
        address: config.listen,
        source,
    };
    let socket = socket::bind(config.listen).map_err(listen)?;
    let addr = socket.local_addr().map_err(listen)?;
    let this_node = node::this_node(&config, addr)?;
    let nodes = this_node.nodes(store.as_ref(), &sources)?;
    let certificates = Certificates::load(sources, nodes.clone())?;
    let tls = tls::config::server_config(&certificates)?;
    let metrics_socket = match config.metrics {
        Some(address) => Some(socket::listen_for_metrics(address).await?),
        None => None,
    };
    let of_node = (nodes.clone(), this_node.record.clone());
    let webhooks = match config.webhook.clone() {
        Some(target) => {
            let counters = metrics.webhooks.clone();
            let started = Webhooks::start(target, config.clock.clone(), counters);
            started.map_err(TlsError::from)?
        }
        None => Webhooks::default(),
    };
    let mail = match config.mail.clone() {
        Some(target) => Mail::start(target, metrics.mail.clone())?,
        None => Mail::default(),
    };
    let parts = Parts::assemble(
        &config,
        store.clone(),
        (digest, keys),
        of_node,
        (metrics, audit),
        (mail, webhooks),
    );
    let settings = transport::server_config(tls, transport::address_token_key(&key));
    let endpoint = socket::open(socket, settings, parts.listener.amplification().clone());
    let endpoint = endpoint.map_err(listen)?;
    let health = Health::default();
    let mut tasks = Supervisor::new(health.clone());
    background::start(&mut tasks, &parts);
    if store.is_shared() {
        let mut record = this_node.record;
        heartbeat::claim_name(store.as_ref(), &nodes, &mut record).await?;
        background::start_heartbeat(&mut tasks, (store.clone(), nodes, record), &parts);
    }
    let metrics = metrics_socket
        .as_ref()
        .and_then(|socket| socket.local_addr().ok());
    if let Some(socket) = metrics_socket {
        let (socket, figures) = (
            Arc::new(socket),
            Arc::new(Figures::new(&parts, health.clone())),
        );
        tasks.supervise("metrics", move || {
            confab_telemetry::serve(socket.clone(), figures.clone())
        });
    }
    // Last, because clients and relays connect only after this node knows the other nodes.
    let of = (endpoint.clone(), parts.listener.clone());
    tasks.supervise("listener", move || {
        let (endpoint, listener) = of.clone();
        listener::listen(endpoint, listener)
    });
    let running = Running {
        addr,
        fingerprint,
        certificates: Arc::new(certificates),
        ca: config.data_dir.join(CA_FILE),
        metrics,
        tasks,
        parts,
        health,
        store,
        state_file,
        endpoint,
        _lock: lock,
    };
    running.write_state()?;
    Ok(running)
}

impl Running {
    /// Resolves when a task of the server keeps failing and the server must end.
    pub async fn lost(&self) -> TaskLost {
        self.health.lost().await
    }

    /// The services for clients. For tests and benches.
    pub fn api(&self) -> &api::Services {
        &self.parts.api
    }

    /// The services for nodes, relays and operators. For tests and benches.
    pub fn peer_api(&self) -> &peer_api::Services {
        &self.parts.peer_api
    }

    /// The audit log.
    pub fn audit(&self) -> &Audit {
        &self.parts.api.audit
    }

    /// Notifies every client, then closes all connections.
    pub async fn shutdown(mut self) {
        let after = RECONNECT_AFTER.as_millis();
        let going_away = wire::GoingAway {
            retry_after_ms: u32::try_from(after).unwrap_or(u32::MAX),
        };
        let services = self.parts.api.clone();
        services.metrics.close();
        self.endpoint.set_server_config(None);
        let _ = std::fs::remove_file(&self.state_file);
        if services.clients.count() > 0 {
            services
                .clients
                .broadcast(wire::event::Kind::GoingAway(going_away));
            tokio::time::sleep(NOTICE_TIME).await;
        }
        self.tasks.abort();
        self.endpoint
            .close(close::GOING_AWAY.code(), close::GOING_AWAY.reason());
        // Requests that were read whole are completed.
        let ended = services.clients.all_gone();
        if tokio::time::timeout(CLOSE_DEADLINE, ended).await.is_err() {
            tracing::warn!("aborting requests that did not end in time");
        }
        services.rooms.close();
        // Without this the other nodes would wait for the lease to end before they take over the rooms.
        let me = services.nodes.me().clone();
        if let Ok(Err(error)) =
            tokio::time::timeout(CLOSE_DEADLINE, self.store.forget_node(me)).await
        {
            tracing::warn!(%error, "cannot remove this node from the store");
        }
        // A peer that does not acknowledge the close learns of it by its idle timeout.
        let _ = tokio::time::timeout(CLOSE_DEADLINE, self.endpoint.wait_idle()).await;
    }

    fn write_state(&self) -> Result<(), TlsError> {
        let state = serde_json::json!({
            "listen": self.addr.to_string(),
            "fingerprint": self.fingerprint,
            "ca": self.ca,
        });
        files::write(
            &self.state_file,
            format!("{state}\n").as_bytes(),
            Readers::All,
        )
    }
}

fn lock(folder: &Path) -> Result<File, ServeError> {
    let path = folder.join(LOCK_FILE);
    let file = File::create(&path).map_err(|source| TlsError::File { path, source })?;
    file.try_lock()
        .map_err(|_| ServeError::InUse(folder.to_owned()))?;
    Ok(file)
}
