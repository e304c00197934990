//! Connections to the other nodes: one each, made when it is first needed, one stream for each request.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use confab_protocol::control::CLUSTER_SERVER_NAME;
use confab_protocol::control::framing::{self, Deframer};
use confab_protocol::wire;
use quinn::{ClientConfig, Connection, Endpoint, IdleTimeout, TransportConfig, VarInt};

use super::messages::{MAX_NODE_ANSWER, NodeAnswer, NodeAsk};
use crate::store::{NodeRecord, NodeRun};

/// Time limit for resolving a name.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for a connection to stand, for each address of the node.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for an answer: the other waits for a store and a relay.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);
/// A connection without a sign of life for so long is over.
const IDLE_TIMEOUT_MS: u32 = 5_000;
/// A sign of life is sent so often.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Why another node has not answered. Whether it did what it was asked is unknown, but for [`PeerError::Unreachable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// There is no connection; nothing was asked.
    #[error("the node cannot be reached")]
    Unreachable,
    /// The connection broke.
    #[error("the connection to the node was lost")]
    Lost,
    /// No answer in time.
    #[error("the node does not answer")]
    Timeout,
    /// Its answer makes no sense.
    #[error("the node's answer makes no sense")]
    Malformed,
}

/// The way to the other nodes.
pub struct Peers {
    client: ArcSwap<ClientConfig>,
    connections: Mutex<HashMap<NodeRun, Open>>,
}

struct Open {
    connection: Connection,
    _endpoint: Endpoint,
}

impl Peers {
    /// No connection yet; `client` shows this node's certificate.
    pub fn new(client: ClientConfig) -> Self {
        Self {
            client: ArcSwap::from_pointee(with_transport(client)),
            connections: Mutex::default(),
        }
    }

    /// Uses another client configuration for new connections.
    pub fn show(&self, client: ClientConfig) {
        self.client.store(Arc::new(with_transport(client)));
    }

    /// Asks a node, on the connection that stands or a new one.
    pub async fn ask(&self, node: &NodeRecord, ask: &NodeAsk) -> Result<NodeAnswer, PeerError> {
        let connection = match self.standing(&node.run) {
            Some(connection) => connection,
            None => self.connect(node).await?,
        };
        // A connection that is dead ends by its idle timeout; others may be served on it while this one waits.
        let exchange = tokio::time::timeout(ANSWER_TIMEOUT, exchange(&connection, ask));
        exchange.await.unwrap_or(Err(PeerError::Timeout))
    }

    /// Asks whichever node is at that address, on a connection for this alone.
    pub async fn ask_at(
        &self,
        host_and_port: &str,
        ask: &NodeAsk,
    ) -> Result<NodeAnswer, PeerError> {
        let connected = self.connect_to(host_and_port).await;
        let (connection, _endpoint) = connected.ok_or(PeerError::Unreachable)?;
        let exchange = tokio::time::timeout(ANSWER_TIMEOUT, exchange(&connection, ask));
        exchange.await.unwrap_or(Err(PeerError::Timeout))
    }

    fn standing(&self, run: &NodeRun) -> Option<Connection> {
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connections.retain(|_, open| open.connection.close_reason().is_none());
        connections.get(run).map(|open| open.connection.clone())
    }

    async fn connect(&self, node: &NodeRecord) -> Result<Connection, PeerError> {
        let connected = self.connect_to(&node.cluster).await;
        let (connection, endpoint) = connected.ok_or(PeerError::Unreachable)?;
        let open = Open {
            connection: connection.clone(),
            _endpoint: endpoint,
        };
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(node.run.clone(), open);
        Ok(connection)
    }

    async fn connect_to(&self, host_and_port: &str) -> Option<(Connection, Endpoint)> {
        let resolving = tokio::net::lookup_host(host_and_port);
        let resolved = tokio::time::timeout(RESOLVE_TIMEOUT, resolving).await;
        for address in resolved.ok()?.ok()? {
            let local: SocketAddr = match address {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let Ok(endpoint) = Endpoint::client(local) else {
                continue;
            };
            let connecting = endpoint.connect_with(
                self.client.load().as_ref().clone(),
                address,
                CLUSTER_SERVER_NAME,
            );
            if let Ok(connecting) = connecting
                && let Ok(Ok(connection)) = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await
            {
                return Some((connection, endpoint));
            }
        }
        None
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

async fn exchange(connection: &Connection, ask: &NodeAsk) -> Result<NodeAnswer, PeerError> {
    let (mut send, mut receive) = connection.open_bi().await.map_err(|_| PeerError::Lost)?;
    let request = framing::encode(&wire::NodeRequest::from(ask));
    send.write_chunk(request)
        .await
        .map_err(|_| PeerError::Lost)?;
    let _ = send.finish();
    let mut deframer = Deframer::new(MAX_NODE_ANSWER);
    loop {
        let message = deframer.next::<wire::NodeResponse>();
        if let Some(response) = message.map_err(|_| PeerError::Malformed)? {
            return NodeAnswer::try_from(response).map_err(|_| PeerError::Malformed);
        }
        match receive.read_chunk(MAX_NODE_ANSWER, true).await {
            Ok(Some(chunk)) => deframer.push(&chunk.bytes),
            Ok(None) => return Err(PeerError::Malformed),
            Err(_) => return Err(PeerError::Lost),
        }
    }
}
