//! One QUIC connection to a control node.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_protocol::control::framing::{Deframer, FrameError, encode};
use confab_protocol::control::text::Shown;
use confab_protocol::control::{ALPN, ErrorCode, MAX_EVENT, MAX_RESPONSE, Region};
use confab_protocol::version;
use confab_protocol::wire::{self, request, response};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, Endpoint, IdleTimeout, TransportConfig, VarInt};
use rustls::RootCertStore;
use tokio::sync::mpsc;

use super::address_tokens::AddressTokens;
use super::api::ApiError;
use super::event::ServerEvent;
use super::nodes::MAX_NODES;
use super::race::race;
use super::silence::Silence;
use super::trust::{Check, Trust, TrustError, Verdict};
use super::verifier::ServerVerifier;
use super::{Fingerprint, Server};

/// Time for a name to be resolved, and then for a connection to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Head start of an address before the next one is tried as well (RFC 8305 §5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Time for the server to hear a goodbye. One that is not heard costs it an idle timeout, and nobody else anything.
const GOODBYE: Duration = Duration::from_millis(500);

/// Time for the answer to what a server says at once, without which nobody gets in or out.
const SOON: Duration = Duration::from_secs(5);

/// Time for the answer to a join: a server asks the client to come again after 6 s of its own.
const JOIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Time for any other answer: the server's own limit for a request, and then some for password hashing.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);

/// QUIC's own time for a silent peer: the handshake has as long as a try to connect, and a server forgets a connection that
/// was lost soon, as it takes the shorter of both sides' times. See [`Silence`] for a connection that stands.
const IDLE_TIMEOUT: Duration = CONNECT_TIMEOUT;

/// The round trip that is taken to be there until one is measured. A lost opening is sent again after three times that, and then at
/// intervals that double: with QUIC's 333 ms (RFC 9002 §6.2.2) one loss would cost whoever joins a second. To somebody farther away it
/// costs a datagram.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// Time between two signs of life on an idle connection.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Close code of a node that goes away.
const GOING_AWAY: VarInt = VarInt::from_u32(1);

/// Events that wait for their reader; then the server waits.
const EVENT_QUEUE: usize = 1024;

/// TLS alert `no_application_protocol` (RFC 7301 §3.2): the server speaks no version that has this ALPN.
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name leads nowhere.
    #[error("cannot find the server {server}: {reason}; check --server and the network")]
    NoAddress {
        /// Which server.
        server: String,
        /// What the resolver says.
        reason: String,
    },
    /// Nobody answers, or not as a Confab server does.
    #[error(
        "cannot reach the server {server}: {reason}; check --server, the network and that the server runs"
    )]
    Unreachable {
        /// Which server.
        server: String,
        /// What happened.
        reason: String,
    },
    /// The server is not the one it should be.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// No version in common.
    #[error(
        "the server {0} speaks no version of the protocol that this client does: update the older of the two"
    )]
    Version(String),
    /// The greeting was refused.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// A connection on which the greeting is done.
#[derive(Debug)]
pub struct Link {
    connection: quinn::Connection,
    silence: Silence,
    endpoint: Endpoint,
    /// Which node it goes to.
    pub node: Server,
    /// The authority of the server's cluster, as the server says.
    pub authority: Fingerprint,
    /// The server's clock at the greeting, in milliseconds since 1970.
    pub server_time_ms: u64,
    /// When that was, by one's own clock.
    pub greeted: Instant,
    /// Other nodes of the server.
    pub nodes: Vec<Server>,
    /// Where the node is.
    pub region: Option<Region>,
}

/// Why a connection is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// For the person.
    pub reason: String,
    /// True when the node is dead, or going away, as far as can be told: others are to be tried before it.
    pub node_is_gone: bool,
}

impl Link {
    /// Connects, and greets the server once it is trusted. Addresses of the server's name are raced.
    pub async fn open(server: &Server, trust: &Trust) -> Result<Self, ConnectError> {
        let checks = trust.checks(server);
        if checks.is_empty() {
            let server = server.to_string();
            return Err(TrustError::Unknown { server }.into());
        }
        let addresses = resolve_in_time(server).await?;
        let mut refused = None;
        for check in checks {
            match connect_to_any(server, &check, &addresses).await {
                Ok(connected) => return Self::greet(server.clone(), connected).await,
                // What came of the first says most: a server that is the wrong one is not to hide that behind the next.
                Err(error @ ConnectError::Trust(_)) => refused = refused.or(Some(error)),
                Err(error) => return Err(refused.unwrap_or(error)),
            }
        }
        Err(refused.unwrap_or_else(|| unreachable(server, "it has no name")))
    }

    /// Looks at a server of which nothing is known, and sends it nothing: whether one of the public authorities `roots`
    /// vouches for it, or else which authority its cluster has.
    pub async fn look(server: &Server, roots: Arc<RootCertStore>) -> Result<Verdict, ConnectError> {
        let addresses = resolve_in_time(server).await?;
        let connected =
            match connect_to_any(server, &Check::public(server, roots), &addresses).await {
                Err(ConnectError::Trust(_)) => {
                    connect_to_any(server, &Check::any(), &addresses).await?
                }
                other => other?,
            };
        let (connection, endpoint, verdict) = connected;
        say_goodbye(&connection, &endpoint).await;
        Ok(verdict)
    }

    /// The server's clock now, in milliseconds since 1970.
    pub fn server_now_ms(&self) -> u64 {
        let since = u64::try_from(self.greeted.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.server_time_ms.saturating_add(since)
    }

    /// Sends one request and waits for its answer.
    pub async fn request(&self, kind: request::Kind) -> Result<response::Kind, ApiError> {
        self.send(kind).await
    }

    /// The same, to be waited for without this.
    pub(super) fn send(
        &self,
        kind: request::Kind,
    ) -> impl Future<Output = Result<response::Kind, ApiError>> + Send + 'static {
        ask(self.connection.clone(), kind)
    }

    /// The server's events from now on. To be called once.
    pub fn events(&self) -> mpsc::Receiver<ServerEvent> {
        let (sender, receiver) = mpsc::channel(EVENT_QUEUE);
        let connection = CloseWithoutEvents(self.connection.clone());
        tokio::spawn(async move {
            if let Err(error) = read_events(&connection.0, &sender).await {
                tracing::debug!(error = %Shown(error), "the event stream ended");
            }
        });
        receiver
    }

    /// Resolves when the connection is gone, and says why.
    pub async fn lost(&self) -> Lost {
        let error = match self.connection.closed().await {
            ConnectionError::LocallyClosed if self.silence.is_noticed() => {
                ConnectionError::TimedOut
            }
            error => error,
        };
        let node_is_gone = match &error {
            ConnectionError::TimedOut => true,
            ConnectionError::ApplicationClosed(close) => close.error_code == GOING_AWAY,
            _ => false,
        };
        Lost {
            reason: plain(&error),
            node_is_gone,
        }
    }

    /// Goes on from another local address, after the network changed.
    pub fn rebind(&self) {
        let local = match self.connection.remote_address() {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let moved =
            std::net::UdpSocket::bind(local).and_then(|socket| self.endpoint.rebind(socket));
        if let Err(error) = moved {
            tracing::debug!(error = %Shown(error), "the control connection stays on its socket");
        }
    }

    /// Says goodbye and waits until the server has heard it, for a short while.
    pub async fn close(&self) {
        say_goodbye(&self.connection, &self.endpoint).await;
    }

    async fn greet(
        node: Server,
        (connection, endpoint, _): Connected,
    ) -> Result<Self, ConnectError> {
        let hello = wire::Hello {
            min_version: version::CONTROL.min(),
            max_version: version::CONTROL.max(),
            agent: format!("confab/{}", env!("CARGO_PKG_VERSION")),
        };
        let silence = Silence::watch(connection.clone());
        let greeted = Instant::now();
        let welcome = match ask(connection.clone(), request::Kind::Hello(hello)).await? {
            response::Kind::Welcome(welcome) if version::CONTROL.contains(welcome.version) => {
                welcome
            }
            _ => return Err(ApiError::Malformed("no welcome").into()),
        };
        let authority = Fingerprint::parse(&welcome.authority)
            .ok_or(ApiError::Malformed("a welcome without its authority"))?;
        Ok(Self {
            connection,
            silence,
            endpoint,
            node,
            authority,
            server_time_ms: welcome.server_time_ms,
            greeted,
            nodes: parse_nodes(&welcome.nodes),
            // One that is none is as good as none.
            region: Region::parse(&welcome.region).unwrap_or_default(),
        })
    }
}

/// Without its events a room is not known any more: when their reader ends, for whatever reason, so does the connection, and a new
/// one is made.
struct CloseWithoutEvents(quinn::Connection);

impl Drop for CloseWithoutEvents {
    fn drop(&mut self) {
        // One that is gone already keeps its reason.
        if self.0.close_reason().is_none() {
            self.0.close(VarInt::from_u32(0), b"no events");
        }
    }
}

impl Drop for Link {
    /// The reader of the events would keep the connection alive otherwise.
    fn drop(&mut self) {
        self.connection.close(VarInt::from_u32(0), b"done");
    }
}

/// The addresses of a server, within [`CONNECT_TIMEOUT`].
async fn resolve_in_time(server: &Server) -> Result<Vec<SocketAddr>, ConnectError> {
    let resolving = tokio::time::timeout(CONNECT_TIMEOUT, resolve(server));
    resolving.await.unwrap_or_else(|_| {
        Err(ConnectError::NoAddress {
            server: server.to_string(),
            reason: "no name server answers".into(),
        })
    })
}

async fn resolve(server: &Server) -> Result<Vec<SocketAddr>, ConnectError> {
    let no_address = |reason: String| ConnectError::NoAddress {
        server: server.to_string(),
        reason,
    };
    let found = tokio::net::lookup_host((server.host.as_str(), server.port)).await;
    let found: Vec<_> = found
        .map_err(|error| no_address(error.to_string()))?
        .collect();
    if found.is_empty() {
        return Err(no_address("the name has no address".into()));
    }
    // Families in turn (RFC 8305 §4), so that a broken one costs one head start and no more.
    let (first, second): (Vec<_>, Vec<_>) = found
        .iter()
        .copied()
        .partition(|a| a.is_ipv6() == found[0].is_ipv6());
    let mut second = second.into_iter();
    let mut order = Vec::with_capacity(found.len());
    for address in first {
        order.push(address);
        order.extend(second.next());
    }
    order.extend(second);
    Ok(order)
}

type Connected = (quinn::Connection, Endpoint, Verdict);

async fn connect_to_any(
    server: &Server,
    check: &Check,
    addresses: &[SocketAddr],
) -> Result<Connected, ConnectError> {
    let attempts = addresses
        .iter()
        .copied()
        .map(|address| connect(server.clone(), check.clone(), address));
    let racing = race(attempts, |_| NEXT_ADDRESS_AFTER);
    let errors = match tokio::time::timeout(CONNECT_TIMEOUT, racing).await {
        Ok(Ok(connected)) => return Ok(connected),
        Ok(Err(errors)) => errors,
        Err(_) => return Err(unreachable(server, "nobody answers")),
    };
    // A server that is there and is the wrong one says more than one that is not there.
    let is_there = |error: &ConnectError| !matches!(error, ConnectError::Unreachable { .. });
    let (there, not_there): (Vec<_>, Vec<_>) = errors.into_iter().partition(is_there);
    let error = there.into_iter().next().or(not_there.into_iter().last());
    Err(error.unwrap_or_else(|| unreachable(server, "it has no address")))
}

async fn connect(
    server: Server,
    Check { name, proof }: Check,
    address: SocketAddr,
) -> Result<Connected, ConnectError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(ServerVerifier::new(proof, &server, provider.clone()));
    let failed = |error: &dyn std::fmt::Display| unreachable(&server, &error.to_string());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| failed(&error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let quic = QuicClientConfig::try_from(tls).map_err(|error| failed(&error))?;
    let mut config = quinn::ClientConfig::new(Arc::new(quic));
    config
        .transport_config(Arc::new(transport()))
        .token_store(AddressTokens::of(&server));

    let local = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let endpoint = Endpoint::client(local).map_err(|error| failed(&error))?;
    let connecting = endpoint
        .connect_with(config, address, &name)
        .map_err(|error| failed(&error))?;
    match connecting.await {
        Ok(connection) => {
            // A resumed handshake would show no certificate; none is resumed here, for each attempt has its own cache.
            let judged = verifier.judgement();
            let verdict = judged.ok_or_else(|| failed(&"it showed no certificate"))??;
            Ok((connection, endpoint, verdict))
        }
        Err(error) => Err(match verifier.judgement() {
            Some(Err(refused)) => refused.into(),
            _ if is_version_mismatch(&error) => ConnectError::Version(server.to_string()),
            _ => failed(&plain(&error)),
        }),
    }
}

async fn say_goodbye(connection: &quinn::Connection, endpoint: &Endpoint) {
    connection.close(VarInt::from_u32(0), b"done");
    let _ = tokio::time::timeout(GOODBYE, endpoint.wait_idle()).await;
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = IdleTimeout::try_from(IDLE_TIMEOUT).expect("a few seconds fit into a QUIC integer");
    transport
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_rtt(INITIAL_RTT)
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(1));
    transport
}

fn is_version_mismatch(error: &ConnectionError) -> bool {
    let alert = quinn::TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL);
    match error {
        ConnectionError::VersionMismatch => true,
        ConnectionError::TransportError(error) => error.code == alert,
        ConnectionError::ConnectionClosed(close) => close.error_code == alert,
        _ => false,
    }
}

fn plain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TimedOut => "nobody answers".into(),
        error => error.to_string(),
    }
}

fn unreachable(server: &Server, reason: &str) -> ConnectError {
    ConnectError::Unreachable {
        server: server.to_string(),
        reason: reason.to_owned(),
    }
}

/// Nodes as a server tells them, [`MAX_NODES`] at most; what makes no sense is left out.
pub(super) fn parse_nodes(told: &[String]) -> Vec<Server> {
    let nodes = told.iter().filter_map(|node| node.parse().ok());
    nodes.take(MAX_NODES).collect()
}

async fn ask(
    connection: quinn::Connection,
    kind: request::Kind,
) -> Result<response::Kind, ApiError> {
    let patience = patience(&kind);
    let exchange = exchange(&connection, kind);
    let response = tokio::time::timeout(patience, exchange).await;
    response.map_err(|_| ApiError::Timeout)?
}

/// How long the answer to a request is waited for.
fn patience(kind: &request::Kind) -> Duration {
    match kind {
        request::Kind::Hello(_)
        | request::Kind::Authenticate(_)
        | request::Kind::LeaveRoom(_)
        | request::Kind::ReportMedia(_)
        | request::Kind::ReportFrames(_) => SOON,
        request::Kind::JoinRoom(_) => JOIN_TIMEOUT,
        _ => RESPONSE_TIMEOUT,
    }
}

async fn exchange(
    connection: &quinn::Connection,
    kind: request::Kind,
) -> Result<response::Kind, ApiError> {
    let (mut send, mut receive) = connection.open_bi().await?;
    let request = encode(&wire::Request { kind: Some(kind) });
    // The server may refuse before it has read all; its answer then says more than the failed write.
    let written = send
        .write_all(&request)
        .await
        .map_err(|error| ApiError::Lost(error.to_string()));
    let _ = send.finish();
    match read_response(&mut receive).await {
        Err(ApiError::Lost(_)) => written.and(Err(ApiError::Lost("the stream was reset".into()))),
        answer => answer,
    }
}

async fn read_response(receive: &mut quinn::RecvStream) -> Result<response::Kind, ApiError> {
    let mut deframer = Deframer::new(MAX_RESPONSE);
    loop {
        if let Some(response) = deframer.next::<wire::Response>().map_err(bad_frame)? {
            return match response.kind {
                Some(response::Kind::Error(error)) => Err(ApiError::Refused(error.into())),
                Some(kind) => Ok(kind),
                None => Err(ApiError::Malformed("an answer of an unknown kind")),
            };
        }
        match receive.read_chunk(usize::MAX, true).await {
            Ok(Some(chunk)) => deframer.push(&chunk.bytes),
            Ok(None) => return Err(ApiError::Malformed("an answer cut short")),
            Err(error) => return Err(ApiError::Lost(error.to_string())),
        }
    }
}

async fn read_events(
    connection: &quinn::Connection,
    to: &mpsc::Sender<ServerEvent>,
) -> Result<(), ApiError> {
    let mut stream = connection.accept_uni().await?;
    let mut deframer = Deframer::new(MAX_EVENT);
    loop {
        while let Some(event) = deframer.next::<wire::Event>().map_err(bad_frame)? {
            match ServerEvent::parse(&event) {
                Ok(Some(event)) => {
                    if to.send(event).await.is_err() {
                        return Ok(());
                    }
                }
                Ok(None) => {}
                Err(field) => {
                    tracing::warn!(%field, "an event that is not what the protocol asks for")
                }
            }
        }
        match stream.read_chunk(usize::MAX, true).await {
            Ok(Some(chunk)) => deframer.push(&chunk.bytes),
            Ok(None) => return Ok(()),
            Err(error) => return Err(ApiError::Lost(error.to_string())),
        }
    }
}

fn bad_frame(error: FrameError) -> ApiError {
    tracing::debug!(error = %Shown(error), "a message that is not one");
    ApiError::Malformed("a message that is not one")
}

impl From<ConnectionError> for ApiError {
    fn from(error: ConnectionError) -> Self {
        Self::Lost(plain(&error))
    }
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
