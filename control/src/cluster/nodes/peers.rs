//! Connections to other nodes: one for each node, opened on demand, with one stream for each request.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use confab_protocol::control::CLUSTER_SERVER_NAME;
use confab_protocol::control::framing::{self, Deframer};
use confab_protocol::wire;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, IdleTimeout, TransportConfig, VarInt,
};

use super::messages::{MAX_NODE_RESPONSE, NodeRequest, NodeResponse};
use crate::mutex::lock;
use crate::store::{NodeRecord, NodeRun};

/// Time limit for name resolution.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Time limit for the handshake, for each address of the node.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time limit for a response. The other node waits for its store and a relay.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);
/// The first of the transport errors that carry a TLS alert (RFC 9001, section 4.8).
const TLS_ALERTS: u64 = 0x0100;
/// Alerts on a certificate of somebody else (RFC 8446, section 6): `bad_certificate`, `certificate_unknown`, `unknown_ca`, `access_denied`,
/// `decrypt_error` and `certificate_required`.
const OF_STRANGERS: [u64; 6] = [42, 46, 48, 49, 51, 116];
/// QUIC idle timeout.
const IDLE_TIMEOUT_MS: u32 = 5_000;
/// QUIC keep-alive interval.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// An error of a request to another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The name of the node's host has no address, as far as can be found out.
    #[error("its name cannot be resolved")]
    Unresolved,
    /// No connection.
    #[error("no node answers there")]
    Unreachable,
    /// One of both has a certificate that the other does not take.
    #[error("the node there belongs to another cluster")]
    Foreign,
    #[error("the connection to the node was lost")]
    Lost,
    #[error("the node does not answer")]
    Timeout,
    /// The response cannot be parsed.
    #[error("the node's response cannot be parsed: check that both run the same version")]
    Malformed,
}

impl PeerError {
    /// True if the node may have carried out the request.
    pub fn may_be_done(self) -> bool {
        match self {
            Self::Unresolved | Self::Unreachable | Self::Foreign => false,
            Self::Lost | Self::Timeout | Self::Malformed => true,
        }
    }

    fn of_connection(error: &ConnectionError) -> Self {
        let code = match error {
            ConnectionError::TransportError(error) => error.code,
            ConnectionError::ConnectionClosed(close) => close.error_code,
            _ => return Self::Unreachable,
        };
        let alert = u64::from(code).checked_sub(TLS_ALERTS);
        match alert.is_some_and(|alert| OF_STRANGERS.contains(&alert)) {
            true => Self::Foreign,
            false => Self::Unreachable,
        }
    }
}

/// Connections to other nodes.
pub struct Peers {
    client: ArcSwap<ClientConfig>,
    connections: Mutex<HashMap<NodeRun, Open>>,
}

struct Open {
    connection: Connection,
    _endpoint: Endpoint,
}

impl Peers {
    /// Creates the pool. `client` has this node's certificate.
    pub fn new(client: ClientConfig) -> Self {
        Self {
            client: ArcSwap::from_pointee(with_transport(client)),
            connections: Mutex::default(),
        }
    }

    /// Sets the client configuration for new connections.
    pub fn set_client_config(&self, client: ClientConfig) {
        self.client.store(Arc::new(with_transport(client)));
    }

    /// Sends a request, on the open connection or a new one.
    pub async fn ask(
        &self,
        node: &NodeRecord,
        ask: &NodeRequest,
    ) -> Result<NodeResponse, PeerError> {
        let connection = match self.open_connection(&node.run) {
            Some(connection) => connection,
            None => self.connect(node).await?,
        };
        // The connection is not closed here: other requests may use it, and the idle timeout ends a dead one.
        let exchange = tokio::time::timeout(ANSWER_TIMEOUT, exchange(&connection, ask));
        exchange.await.unwrap_or(Err(PeerError::Timeout))
    }

    /// Sends a request to the node at this address, on a connection for this request alone.
    pub async fn ask_at(
        &self,
        host_and_port: &str,
        ask: &NodeRequest,
    ) -> Result<NodeResponse, PeerError> {
        let (connection, _endpoint) = self.connect_to(host_and_port).await?;
        let exchange = tokio::time::timeout(ANSWER_TIMEOUT, exchange(&connection, ask));
        exchange.await.unwrap_or(Err(PeerError::Timeout))
    }

    fn open_connection(&self, run: &NodeRun) -> Option<Connection> {
        let mut connections = lock(&self.connections);
        connections.retain(|_, open| open.connection.close_reason().is_none());
        connections.get(run).map(|open| open.connection.clone())
    }

    async fn connect(&self, node: &NodeRecord) -> Result<Connection, PeerError> {
        let (connection, endpoint) = self.connect_to(&node.cluster).await?;
        let open = Open {
            connection: connection.clone(),
            _endpoint: endpoint,
        };
        lock(&self.connections).insert(node.run.clone(), open);
        Ok(connection)
    }

    async fn connect_to(&self, host_and_port: &str) -> Result<(Connection, Endpoint), PeerError> {
        let resolving = tokio::net::lookup_host(host_and_port);
        let resolved = match tokio::time::timeout(RESOLVE_TIMEOUT, resolving).await {
            Ok(Ok(resolved)) => resolved,
            _ => return Err(PeerError::Unresolved),
        };
        let mut failed = PeerError::Unresolved;
        for address in resolved {
            match self.connect_to_address(address).await {
                Ok(connected) => return Ok(connected),
                // A node that is there says more than an address without one.
                Err(_) if failed == PeerError::Foreign => {}
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    async fn connect_to_address(
        &self,
        address: SocketAddr,
    ) -> Result<(Connection, Endpoint), PeerError> {
        let local: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let endpoint = Endpoint::client(local).map_err(|_| PeerError::Unreachable)?;
        let client = self.client.load().as_ref().clone();
        let connecting = endpoint
            .connect_with(client, address, CLUSTER_SERVER_NAME)
            .map_err(|_| PeerError::Unreachable)?;
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => Ok((connection, endpoint)),
            Ok(Err(error)) => Err(PeerError::of_connection(&error)),
            Err(_) => Err(PeerError::Unreachable),
        }
    }
}

fn with_transport(mut client: ClientConfig) -> ClientConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0));
    client.transport_config(Arc::new(transport));
    client
}

async fn exchange(connection: &Connection, ask: &NodeRequest) -> Result<NodeResponse, PeerError> {
    // A node refuses a certificate only after the handshake.
    let lost = || match connection
        .close_reason()
        .as_ref()
        .map(PeerError::of_connection)
    {
        Some(PeerError::Foreign) => PeerError::Foreign,
        _ => PeerError::Lost,
    };
    let (mut send, mut receive) = connection.open_bi().await.map_err(|_| lost())?;
    let request = framing::encode(&wire::NodeRequest::from(ask));
    send.write_chunk(request).await.map_err(|_| lost())?;
    let _ = send.finish();
    let mut deframer = Deframer::new(MAX_NODE_RESPONSE);
    loop {
        let message = deframer.next::<wire::NodeResponse>();
        if let Some(response) = message.map_err(|_| PeerError::Malformed)? {
            return NodeResponse::try_from(response).map_err(|_| PeerError::Malformed);
        }
        match receive.read_chunk(MAX_NODE_RESPONSE, true).await {
            Ok(Some(chunk)) => deframer.push(&chunk.bytes),
            Ok(None) => return Err(PeerError::Malformed),
            Err(_) => return Err(lost()),
        }
    }
}
