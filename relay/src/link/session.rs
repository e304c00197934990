//! A link that is up: the connection, and the stream on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use confab_protocol::cluster;
use confab_protocol::control::CLUSTER_SERVER_NAME;
use confab_protocol::control::framing;
use confab_protocol::version;
use confab_protocol::wire::{self, relay_to_control};

use super::error::LinkError;
use super::hello::{Hello, any_towards};
use super::orders::{Handled, Orders};
use super::timing::{IDLE_TIMEOUT, KEEP_ALIVE, WRITE_TIMEOUT};
use crate::identity::{CertificateRefusal, Identity};

/// Interval in which it is checked that the workers have carried out enough commands.
const CATCH_UP: Duration = Duration::from_millis(5);

/// A link that is up.
pub(super) struct Session {
    _endpoint: quinn::Endpoint,
    connection: quinn::Connection,
    send: quinn::SendStream,
    receive: quinn::RecvStream,
    orders: Orders,
    /// True if all addresses for clients are loopback addresses.
    pub(super) is_loopback: bool,
}

impl Session {
    /// Connects to the control node and exchanges hellos.
    pub(super) async fn open(
        control: &str,
        identity: &Identity,
        refusal: &Arc<CertificateRefusal>,
        hello: &Hello,
        orders: Orders,
    ) -> Result<Self, LinkError> {
        let mut addresses = tokio::net::lookup_host(control)
            .await
            .map_err(LinkError::Resolve)?;
        let control = addresses
            .next()
            .ok_or_else(|| LinkError::Resolve(std::io::Error::other("it has no address")))?;
        let endpoint = quinn::Endpoint::client(any_towards(control)).map_err(LinkError::Socket)?;
        let mut client = quinn::ClientConfig::new(Arc::new(identity.client(refusal)?));
        client.transport_config(Arc::new(transport()));
        let connection = endpoint
            .connect_with(client, control, CLUSTER_SERVER_NAME)?
            .await?;
        let (mut send, receive) = connection.open_bi().await?;
        let told = hello.addresses(control);
        let is_loopback = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
        let greeting = message(relay_to_control::Kind::Hello(hello.message(&told)));
        send.write_all(&greeting).await?;
        let mut session = Self {
            _endpoint: endpoint,
            connection,
            send,
            receive,
            orders,
            is_loopback: told.iter().all(is_loopback),
        };
        match session.next().await? {
            Handled::Hello(hello) if version::CONTROL.contains(hello.version) => Ok(session),
            Handled::Hello(hello) => Err(LinkError::Version(hello.version)),
            _ => Err(LinkError::NoHello),
        }
    }

    /// Handles the next message. Cancelling the wait loses nothing.
    pub(super) async fn next(&mut self) -> Result<Handled, LinkError> {
        loop {
            while self.orders.is_ahead() {
                tokio::time::sleep(CATCH_UP).await;
            }
            if let Some(taken) = self.orders.next(Instant::now())? {
                return Ok(taken);
            }
            match self.receive.read_chunk(cluster::MAX_MESSAGE, true).await? {
                Some(chunk) => self.orders.push(&chunk.bytes),
                None => return Err(LinkError::Closed),
            }
        }
    }

    /// Sends a message. A control node that does not read loses the link.
    pub(super) async fn send(&mut self, kind: relay_to_control::Kind) -> Result<(), LinkError> {
        let message = message(kind);
        let written = tokio::time::timeout(WRITE_TIMEOUT, self.send.write_all(&message)).await;
        Ok(written.map_err(|_| LinkError::Stuck)??)
    }

    pub(super) fn close(&self) {
        self.connection.close(0u32.into(), b"");
    }
}

fn transport() -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    transport
        .max_idle_timeout(quinn::IdleTimeout::try_from(IDLE_TIMEOUT).ok())
        .keep_alive_interval(Some(KEEP_ALIVE));
    transport
}

fn message(kind: relay_to_control::Kind) -> Bytes {
    framing::encode(&wire::RelayToControl { kind: Some(kind) })
}
