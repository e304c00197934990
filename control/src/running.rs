//! The whole server, put together.

mod node;
mod owner;
mod supervision;

use std::collections::HashMap;
use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_protocol::control::{AccountId, Region};
use confab_protocol::wire;
use quinn::{Endpoint, EndpointConfig, Runtime as _, ServerConfig, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use crate::accounts::cookie::CookieKey;
use crate::accounts::token::TokenKey;
use crate::accounts::{Accounts, AccountsConfig};
use crate::api::clients::{Clients, ConnectionLimits};
use crate::api::connection_ids::RandomIds;
use crate::api::counts::LiveCounts;
use crate::api::door::Door;
use crate::api::links::Links;
use crate::api::listener::Gatekeeper;
use crate::api::meter::{Meter, MeteredSocket};
use crate::api::{close, listener};
use crate::clock::{Clock, UnixMillis};
use crate::cluster::nodes::Nodes;
use crate::cluster::nodes::heartbeat::{self, Missed, NodeError};
use crate::cluster::revoked::Revoked;
use crate::cluster::{NodeName, Relays};
use crate::conferences::Conferences;
use crate::metrics::Metrics;
use crate::rooms::note::NoteKeys;
use crate::rooms::{RoomLimits, Rooms};
use crate::store::cql::CqlStore;
use crate::store::cql::config::CqlConfig;
use crate::store::metered::MeteredStore;
use crate::store::remembering::RememberingStore;
use crate::store::sqlite::SqliteStore;
use crate::store::turns::TurnsStore;
use crate::store::{NodeRecord, SessionId, Store, StoreError};
use crate::tls::authority::{Authority, CA_FILE};
use crate::tls::certificates::{Certificates, OwnCertificate, Sources};
use crate::tls::files::{self, Readers};
use crate::tls::{TlsError, config};

use owner::Owner;
pub use owner::WrongStore;
use supervision::Supervisor;
pub use supervision::{Health, TaskLost};

/// What scripts read to learn where the server is.
pub const STATE_FILE: &str = "control.json";
/// Locked while a server runs: two on one folder would both own its rooms.
const LOCK_FILE: &str = "control.lock";
const STORE_FILE: &str = "confab.sqlite";
const TOKEN_KEY_FILE: &str = "token.key";
/// Time between two searches for what has expired or was never finished.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Time between two looks at those who were let in while the store did not answer, if there are any.
const PROVE_INTERVAL: Duration = Duration::from_secs(1);
/// More heartbeats than a node counts before its task for them is started again.
const BEATS_OF_A_RUN: u64 = 1 << 32;
/// Whether sessions have ended is looked up again after this time, when the store did not say.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// What clients are told to wait when the server goes away.
const COME_BACK_AFTER: Duration = Duration::from_secs(1);
/// Clients have this long to hear that the server goes away.
const GOODBYE: Duration = Duration::from_millis(300);
/// Connections have this long to be closed.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);
/// Receive and send buffer of the socket: a burst of a thousand handshakes.
const SOCKET_BUFFER: usize = 4 << 20;

/// Everything that the operator decides.
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
    /// Accounts and sessions.
    pub accounts: AccountsConfig,
    /// Rooms and memberships.
    pub rooms: RoomLimits,
    /// Conferences that an account may own.
    pub max_conferences: u64,
    /// Connections.
    pub connections: ConnectionLimits,
    /// Handshakes that a source may begin at once; half as many a second from then on.
    pub handshakes: u32,
    /// Where this node is, for rooms to be placed near those who connect to it.
    pub region: Option<Region>,
    /// TCP address for metrics; `None`: there are none.
    pub metrics: Option<SocketAddr>,
    /// The time of day.
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

/// What requests reach.
pub struct Server {
    /// Who somebody is.
    pub accounts: Accounts,
    /// Who is what where.
    pub conferences: Conferences,
    /// Who is in a conference now.
    pub rooms: Rooms,
    /// Who carries the media.
    pub relays: Relays,
    /// Who may connect.
    pub gatekeeper: Gatekeeper,
    /// Who is connected.
    pub clients: Clients,
    /// How many are in the rooms of all nodes.
    pub counts: LiveCounts,
    /// The other control nodes.
    pub nodes: Nodes,
    /// This node, as others know it.
    pub place: NodeRecord,
    /// Relays' identities that are not good any more.
    pub revoked: Revoked,
    /// The time of day.
    pub clock: Clock,
    /// Where this node is.
    pub region: Option<Region>,
    /// SHA-256 over the DER of the cluster authority's certificate.
    pub authority: [u8; 32],
    /// What is counted.
    pub metrics: Metrics,
    /// How its own tasks do.
    pub health: Health,
}

impl Server {
    /// A session has ended, here or at another node: its connections are signed out, and what it brought in goes out.
    pub fn session_ended(&self, account: AccountId, session: SessionId) {
        // First what is remembered of it: whoever signs in by that from now on finds out.
        self.accounts.forget(session);
        self.clients.session_ended(session);
        self.rooms.session_ended(account, session);
    }

    /// Finds out what this node was not told: whether others have its rooms, and whose session has ended.
    async fn look_again(&self) {
        self.rooms.wake().await;
        loop {
            let clients: HashMap<SessionId, AccountId> = self
                .clients
                .sessions()
                .into_iter()
                .map(|(account, session)| (session, account))
                .collect();
            match self
                .accounts
                .ended_of(clients.keys().copied().collect())
                .await
            {
                Ok(ended) => {
                    for session in ended {
                        if let Some(account) = clients.get(&session) {
                            self.session_ended(*account, session);
                        }
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "which sessions have ended could not be looked up; it is tried again");
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            }
        }
    }
}

/// A server that runs until it is shut down or dropped with its runtime.
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    /// `sha256:` and 64 hexadecimal digits: the cluster CA, for clients to pin.
    pub fingerprint: String,
    /// The cluster CA's certificate.
    pub ca: PathBuf,
    /// Its certificates, which can be read again.
    pub certificates: Arc<Certificates>,
    /// Where its metrics are.
    pub metrics: Option<SocketAddr>,
    /// What it serves.
    pub server: Arc<Server>,
    store: Arc<dyn Store>,
    state_file: PathBuf,
    endpoint: Endpoint,
    /// Held for as long as the server runs.
    _lock: File,
    tasks: Supervisor,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// No socket for metrics.
    #[error("cannot listen on TCP {address} for metrics: {source}; choose another with --metrics")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why not.
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

/// Starts the server. It runs on the tokio runtime of the caller.
pub async fn serve(config: Config) -> Result<Running, ServeError> {
    let now = config.clock.now();
    files::make_folder(&config.data_dir)?;
    let lock = lock(&config.data_dir)?;
    let state_file = config.data_dir.join(STATE_FILE);
    // One that a server left behind that was killed tells of no server.
    let _ = std::fs::remove_file(&state_file);
    let metrics = Metrics::default();
    let store = open_own_store(&config, &metrics).await?;
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
        tokens: TokenKey::new(&key),
        cookies: CookieKey::new(&key),
        notes: NoteKeys::new(&key),
    };
    let listen = |source| ServeError::Listen {
        address: config.listen,
        source,
    };
    let socket = bind(config.listen).map_err(listen)?;
    let addr = socket.local_addr().map_err(listen)?;
    let place = node::place(&config, addr)?;
    let nodes = place.nodes(&config.store, &sources)?;
    let certificates = Certificates::load(sources, nodes.clone())?;
    let tls = config::server_config(&certificates)?;
    let listener = match config.metrics {
        Some(address) => Some(listen_for_metrics(address).await?),
        None => None,
    };
    let of_node = (nodes.clone(), place.record.clone());
    let of_cluster = (digest, keys);
    let server = Arc::new(assemble(
        &config,
        store.clone(),
        of_cluster,
        of_node,
        metrics,
    ));
    let settings = listener::server_config(tls, listener::proof_key(&key));
    let endpoint = open(socket, settings, server.gatekeeper.meter.clone());
    let endpoint = endpoint.map_err(listen)?;
    let mut tasks = Supervisor::new(server.health.clone());
    let of = server.clone();
    tasks.keep("sweep", move || sweep(of.clone()));
    let of = server.rooms.clone();
    tasks.keep("leftovers", move || of.clone().sweep_leftovers());
    let of = server.clone();
    tasks.keep("prove", move || prove(of.clone()));
    let of = server.revoked.clone();
    tasks.keep("revoked", move || of.clone().watch());
    if !matches!(config.store, StoreConfig::Sqlite(_)) {
        let mut record = place.record;
        heartbeat::enter(store.as_ref(), &nodes, &mut record).await?;
        keep_beating(&mut tasks, (store.clone(), nodes, record), &server);
    }
    let metrics = match listener {
        None => None,
        Some(listener) => {
            let address = listener.local_addr().ok();
            let (listener, of) = (Arc::new(listener), server.clone());
            tasks.keep("metrics", move || {
                confab_telemetry::serve(listener.clone(), of.clone())
            });
            address
        }
    };
    // Only now: nobody comes before this node knows the others.
    let of = (endpoint.clone(), server.clone());
    tasks.keep("listener", move || {
        let (endpoint, server) = of.clone();
        listener::listen(endpoint, server)
    });
    let running = Running {
        addr,
        fingerprint,
        certificates: Arc::new(certificates),
        ca: config.data_dir.join(CA_FILE),
        metrics,
        tasks,
        server,
        store,
        state_file,
        endpoint,
        _lock: lock,
    };
    running.write_state()?;
    Ok(running)
}

/// Says that this node lives, and looks again each time that something may have been missed.
fn keep_beating(
    tasks: &mut Supervisor,
    (store, nodes, mut record): (Arc<dyn Store>, Nodes, NodeRecord),
    server: &Arc<Server>,
) {
    let missed = Arc::new(Notify::new());
    let of = (server.clone(), missed.clone());
    tasks.keep("look-again", move || {
        let (server, missed) = of.clone();
        look_again(server, missed)
    });
    let of = server.clone();
    tasks.keep("heartbeat", move || {
        // Others have to see a counter that they have not seen, whatever the run before has written.
        record.counter += BEATS_OF_A_RUN;
        let (of, missed) = (of.clone(), missed.clone());
        let notice = move |why| {
            if why == Missed::ThisNode {
                // First what is remembered: whoever signs in by that from now on would be let in for long.
                of.accounts.forget_all();
            }
            missed.notify_one();
        };
        heartbeat::run(store.clone(), nodes.clone(), record.clone(), notice)
    });
}

impl Running {
    /// Resolves when the server has lost one of its own tasks and has to end.
    pub async fn lost(&self) -> TaskLost {
        self.server.health.lost().await
    }

    /// Tells every client that the server goes away, then closes.
    pub async fn shutdown(mut self) {
        let after = COME_BACK_AFTER.as_millis();
        let going_away = wire::GoingAway {
            retry_after_ms: u32::try_from(after).unwrap_or(u32::MAX),
        };
        self.server.metrics.close();
        self.endpoint.set_server_config(None);
        let _ = std::fs::remove_file(&self.state_file);
        if self.server.clients.count() > 0 {
            self.server
                .clients
                .tell_all(wire::event::Kind::GoingAway(going_away));
            tokio::time::sleep(GOODBYE).await;
        }
        self.tasks.abort();
        self.endpoint
            .close(close::GOING_AWAY.code(), close::GOING_AWAY.reason());
        // Requests that were read whole are carried out.
        let ended = self.server.clients.all_gone();
        if tokio::time::timeout(CLOSE_DEADLINE, ended).await.is_err() {
            tracing::warn!("requests that were under way are broken off");
        }
        self.server.rooms.close();
        // The others need not wait to be sure that this node is gone; its rooms are free to be taken over at once.
        let me = self.server.nodes.me().clone();
        if let Ok(Err(error)) =
            tokio::time::timeout(CLOSE_DEADLINE, self.store.forget_node(me)).await
        {
            tracing::warn!(%error, "the store was not told that this node ends");
        }
        // Who does not acknowledge the end learns of it by its idle timeout.
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
            Readers::Everybody,
        )
    }
}

/// Looks again each time that something may have been missed.
async fn look_again(server: Arc<Server>, missed: Arc<Notify>) {
    loop {
        missed.notified().await;
        server.look_again().await;
    }
}

/// The store of the server whose keys are in the data folder.
async fn open_own_store(config: &Config, metrics: &Metrics) -> Result<Arc<dyn Store>, ServeError> {
    let folder = &config.data_dir;
    let owner = Owner::read(folder)?;
    // Before anything is made anew.
    owner::check_keys(owner, folder, &[CA_FILE, TOKEN_KEY_FILE])?;
    let name = match &config.store {
        StoreConfig::Sqlite(path) => {
            let path = path.clone().unwrap_or_else(|| folder.join(STORE_FILE));
            owner::check_file(owner, folder, &path)?;
            path.display().to_string()
        }
        StoreConfig::Cql(cql) => format!("the keyspace {} of the database", cql.address.keyspace),
        StoreConfig::Shared(_) => "the shared store".to_owned(),
    };
    let store = open_store(config, metrics).await?;
    owner::settle(owner, folder, (store.as_ref(), name)).await?;
    Ok(store)
}

/// The store, with what is put between it and whoever asks it.
async fn open_store(config: &Config, metrics: &Metrics) -> Result<Arc<dyn Store>, StoreError> {
    let metered = |store| Arc::new(MeteredStore::new(store, metrics.clone()));
    let store: Arc<dyn Store> = match &config.store {
        StoreConfig::Sqlite(path) => {
            let in_folder = || config.data_dir.join(STORE_FILE);
            let path = path.clone().unwrap_or_else(in_folder);
            metered(Arc::new(SqliteStore::open(&path)?))
        }
        StoreConfig::Cql(cql) => {
            let store = Arc::new(CqlStore::open(cql).await?);
            Arc::new(RememberingStore::new(metered(store)))
        }
        StoreConfig::Shared(SharedStore(store)) => {
            Arc::new(RememberingStore::new(metered(store.clone())))
        }
    };
    Ok(Arc::new(TurnsStore::new(store)))
}

/// Copies what every node of the cluster has, made when it is missing, from one data folder into another, the CA's key only if it is
/// asked for; which files.
pub(crate) fn copy_cluster_keys(
    from: &Path,
    to: &Path,
    with_ca_key: bool,
    now: UnixMillis,
) -> Result<Vec<PathBuf>, TlsError> {
    Authority::open_or_create(from, now)?;
    files::key(&from.join(TOKEN_KEY_FILE))?;
    files::make_folder(to)?;
    let mut written = Authority::copy(from, to, with_ca_key)?;
    Owner::read_or_draw(from)?.copy_to(to)?;
    written.push(to.join(owner::FILE));
    let token_key = to.join(TOKEN_KEY_FILE);
    files::copy(&from.join(TOKEN_KEY_FILE), &token_key, Readers::Owner)?;
    written.push(token_key);
    Ok(written)
}

fn lock(folder: &Path) -> Result<File, ServeError> {
    let path = folder.join(LOCK_FILE);
    let file = File::create(&path).map_err(|source| TlsError::File { path, source })?;
    file.try_lock()
        .map_err(|_| ServeError::InUse(folder.to_owned()))?;
    Ok(file)
}

/// What is derived from the cluster's key.
struct Keys {
    tokens: TokenKey,
    cookies: CookieKey,
    notes: NoteKeys,
}

fn assemble(
    config: &Config,
    store: Arc<dyn Store>,
    (authority, keys): ([u8; 32], Keys),
    (nodes, place): (Nodes, NodeRecord),
    metrics: Metrics,
) -> Server {
    let (clock, relays) = (config.clock.clone(), Relays::default());
    let clients = Clients::new(config.connections, metrics.door.refusals.clone());
    let gatekeeper = Gatekeeper {
        door: Door::new(
            config.handshakes,
            metrics.door.handshakes.clone(),
            Instant::now(),
        ),
        meter: Meter::default(),
        links: Links::default(),
    };
    let rooms = Rooms::new(
        store.clone(),
        relays.clone(),
        config.rooms,
        clock.clone(),
        nodes.clone(),
        keys.notes,
    );
    let (clients_of, rooms_of, nodes_of) = (clients.clone(), rooms.clone(), nodes.clone());
    let accounts = Accounts::new(
        store.clone(),
        (keys.tokens, keys.cookies),
        clock.clone(),
        &config.accounts,
        &metrics.door.refusals,
        // In this order: a join that the room has not heard of yet finds its connection signed out.
        Box::new(move |account, session| {
            clients_of.session_ended(session);
            rooms_of.session_ended(account, session);
            nodes_of.tell_session_ended(account, session);
        }),
    );
    let revoked = Revoked::new(store.clone());
    let counts = LiveCounts::new(rooms.clone(), nodes.clone(), store.clone());
    let conferences = Conferences::new(
        store,
        rooms.clone(),
        clock.clone(),
        config.max_conferences,
        config.rooms.max_members,
    );
    Server {
        accounts,
        conferences,
        rooms,
        relays,
        gatekeeper,
        clients,
        counts,
        nodes,
        place,
        revoked,
        clock,
        region: config.region.clone(),
        authority,
        metrics,
        health: Health::default(),
    }
}

async fn sweep(server: Arc<Server>) {
    let mut turns = tokio::time::interval(SWEEP_INTERVAL);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        match server.accounts.sweep().await {
            Ok(0) => {}
            Ok(ended) => tracing::info!(ended, "what had expired or was never finished is gone"),
            Err(error) => tracing::warn!(%error, "the store could not be swept"),
        }
    }
}

/// Looks up those who were let in while the store did not answer.
async fn prove(server: Arc<Server>) {
    let mut turns = tokio::time::interval(PROVE_INTERVAL);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        server.accounts.prove().await;
    }
}

async fn listen_for_metrics(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let listening = TcpListener::bind(address).await;
    listening.map_err(|source| ServeError::Metrics { address, source })
}

fn open(socket: UdpSocket, settings: ServerConfig, meter: Meter) -> std::io::Result<Endpoint> {
    let runtime = Arc::new(TokioRuntime);
    let socket = MeteredSocket::new(runtime.wrap_udp_socket(socket)?, meter);
    let mut ours = EndpointConfig::default();
    ours.cid_generator(|| Box::new(RandomIds));
    Endpoint::new_with_abstract_socket(ours, Some(settings), Arc::new(socket), runtime)
}

/// An address of all zeros in IPv6 takes IPv4 in as well.
fn bind(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // The kernel gives what it allows; less costs retransmissions in a rush, nothing else.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}
