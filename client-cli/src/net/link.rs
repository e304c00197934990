//! A QUIC connection to a control node: `connect` makes it, `exchange` has its requests, and `streams` what the
//! server says unasked.

mod connect;
mod exchange;
mod streams;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_e2ee::mls::identity::{EXPORTED_LEN, EXPORTER_LABEL, ServerId};
use confab_protocol::control::Region;
use confab_protocol::control::text::Shown;
use confab_protocol::version;
use confab_protocol::wire::{self, RegistrationPolicy, request, response};
use quinn::{ConnectionError, Endpoint, VarInt};
use rustls::RootCertStore;
use tokio::sync::mpsc;

use super::errors::{ApiError, ConnectError, plain};
use super::event::Incoming;
use super::node_list::parse_nodes;
use super::silence::Silence;
use super::trust::{Check, ServerVerdict, Trust, TrustError};
use super::{Fingerprint, Server};
use connect::{Connected, connect_to_any, resolve_in_time, unreachable};
use exchange::request_in_time;
use streams::{EVENT_QUEUE, GROUP_QUEUE, read_streams};

/// Time limit for closing a connection. If the close is lost, the server waits for its idle timeout.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// Time between two looks whether it has.
const CLOSE_POLL: Duration = Duration::from_millis(1);

/// Close code of a node that goes away.
const GOING_AWAY: VarInt = VarInt::from_u32(1);

/// A connection after its hello.
#[derive(Debug)]
pub struct Link {
    connection: quinn::Connection,
    silence: Silence,
    endpoint: Endpoint,
    /// The node at the other end.
    pub node: Server,
    /// The authority of the server's cluster, as the server says.
    pub authority: Fingerprint,
    /// The server's clock at the welcome, in milliseconds since 1970.
    pub server_time_ms: u64,
    /// The local time of the welcome.
    pub hello_at: Instant,
    /// Other nodes of the server.
    pub nodes: Vec<Server>,
    /// Where the node is.
    pub region: Option<Region>,
    /// The server sends mail.
    pub sends_mail: bool,
    /// The server's terms for new accounts.
    pub registration: RegistrationTerms,
}

/// A server's terms for new accounts.
#[derive(Debug, Clone, Copy)]
pub struct RegistrationTerms {
    pub policy: RegistrationPolicy,
    pub email_required: bool,
    pub birthday_required: bool,
}

/// Why a connection is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
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
        let asked_at = Instant::now();
        let addresses = resolve_in_time(server).await?;
        let took = asked_at.elapsed().as_millis();
        tracing::debug!(
            addresses = addresses.len(),
            ms = took,
            "the server's name is resolved"
        );
        let mut refused = None;
        for check in checks {
            match connect_to_any(server, &check, &addresses).await {
                Ok(connected) => {
                    let rtt = connected.0.rtt().as_millis();
                    let family = match connected.0.remote_address() {
                        SocketAddr::V4(_) => "IPv4",
                        SocketAddr::V6(_) => "IPv6",
                    };
                    tracing::debug!(family, rtt_ms = rtt, "connected to the server, by QUIC");
                    let link = Self::say_hello(server.clone(), connected).await?;
                    trust.admits_authority(server, link.authority)?;
                    return Ok(link);
                }
                // What came of the first says most: a server that is the wrong one is not to hide that behind the next.
                Err(error @ ConnectError::Trust(_)) => refused = refused.or(Some(error)),
                Err(error) => return Err(refused.unwrap_or(error)),
            }
        }
        Err(refused.unwrap_or_else(|| unreachable(server, "it has no name")))
    }

    /// Looks at a server of which nothing is known, and sends it nothing: whether one of the public authorities `roots`
    /// vouches for it, or else which authority its cluster has.
    pub async fn examine(
        server: &Server,
        roots: Arc<RootCertStore>,
    ) -> Result<ServerVerdict, ConnectError> {
        let addresses = resolve_in_time(server).await?;
        let connected =
            match connect_to_any(server, &Check::public(server, roots), &addresses).await {
                Err(ConnectError::Trust(_)) => {
                    connect_to_any(server, &Check::any(), &addresses).await?
                }
                other => other?,
            };
        let (connection, _endpoint, verdict) = connected;
        close_gently(&connection).await;
        Ok(verdict)
    }

    /// The server's clock now, in milliseconds since 1970.
    pub fn server_now_ms(&self) -> u64 {
        let since = u64::try_from(self.hello_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.server_time_ms.saturating_add(since)
    }

    /// The bytes that both ends export from this connection: a guest's device signs them.
    ///
    /// # Errors
    ///
    /// The connection exports nothing.
    pub fn exported(&self) -> Result<[u8; EXPORTED_LEN], ApiError> {
        let mut exported = [0; EXPORTED_LEN];
        self.connection
            .export_keying_material(&mut exported, EXPORTER_LABEL, b"")
            .map_err(|_| ApiError::Malformed("a connection that exports no key"))?;
        Ok(exported)
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
        request_in_time(self.connection.clone(), kind)
    }

    /// What the server says unasked, from now on. To be called once.
    pub fn incoming(&self) -> Incoming {
        let (events_to, events) = mpsc::channel(EVENT_QUEUE);
        let (group_to, group) = mpsc::channel(GROUP_QUEUE);
        let connection = CloseWithoutStreams(self.connection.clone());
        tokio::spawn(async move {
            if let Err(error) = read_streams(&connection.0, events_to, group_to).await {
                tracing::debug!(error = %Shown(error), "the server's streams ended");
            }
        });
        Incoming { events, group }
    }

    /// The server as the credentials of its participants name it.
    pub fn server_id(&self) -> ServerId {
        ServerId::of_authority(self.authority.as_bytes())
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
        close_gently(&self.connection).await;
    }

    async fn say_hello(
        node: Server,
        (connection, endpoint, _): Connected,
    ) -> Result<Self, ConnectError> {
        let hello = wire::Hello {
            min_version: version::CONTROL.min(),
            max_version: version::CONTROL.max(),
            agent: format!("confab/{}", env!("CARGO_PKG_VERSION")),
        };
        let silence = Silence::watch(connection.clone());
        let hello_at = Instant::now();
        let welcome = match request_in_time(connection.clone(), request::Kind::Hello(hello)).await?
        {
            response::Kind::Welcome(welcome) if version::CONTROL.contains(welcome.version) => {
                welcome
            }
            _ => return Err(ApiError::Malformed("no welcome").into()),
        };
        tracing::debug!(
            ms = hello_at.elapsed().as_millis(),
            version = welcome.version,
            server = %Shown(&welcome.agent),
            other_nodes = welcome.nodes.len(),
            "the server greets"
        );
        let authority = Fingerprint::parse(&welcome.authority)
            .ok_or(ApiError::Malformed("a welcome without its authority"))?;
        Ok(Self {
            connection,
            silence,
            endpoint,
            node,
            authority,
            server_time_ms: welcome.server_time_ms,
            hello_at,
            nodes: parse_nodes(&welcome.nodes),
            // One that is none is as good as none.
            region: Region::parse(&welcome.region).unwrap_or_default(),
            sends_mail: welcome.mail,
            registration: RegistrationTerms {
                policy: welcome.registration(),
                email_required: welcome.email_required,
                birthday_required: welcome.birthday_required,
            },
        })
    }
}

/// Without its events and its group a room is not known any more: when their reader ends, for whatever reason, so does the
/// connection, and a new one is made.
struct CloseWithoutStreams(quinn::Connection);

impl Drop for CloseWithoutStreams {
    fn drop(&mut self) {
        // One that is gone already keeps its reason.
        if self.0.close_reason().is_none() {
            self.0.close(VarInt::from_u32(0), b"no streams");
        }
    }
}

impl Drop for Link {
    /// The reader of the streams would keep the connection alive otherwise.
    fn drop(&mut self) {
        self.connection.close(VarInt::from_u32(0), b"done");
    }
}

/// Closes the connection and waits until the server has been sent the notice: once it is sent nothing else is. Its repetitions, for three
/// probe timeouts (RFC 9000 §10.2), are not waited for: without them a server that missed the notice has the connection until its
/// idle timeout.
async fn close_gently(connection: &quinn::Connection) {
    let before = connection.stats().udp_tx.datagrams;
    connection.close(VarInt::from_u32(0), b"done");
    let is_sent = async {
        while connection.stats().udp_tx.datagrams == before {
            tokio::time::sleep(CLOSE_POLL).await;
        }
    };
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, is_sent).await;
}
