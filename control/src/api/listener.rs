//! Takes connections in and tells clients from relays.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use confab_protocol::cluster;
use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn::{Connection, Endpoint, IdleTimeout, Incoming, ServerConfig, TransportConfig, VarInt};
use rustls::pki_types::CertificateDer;

use super::clients::Place;
use super::{close, connection};
use crate::Server;
use crate::accounts::limits::Source;
use crate::clock::UnixMillis;
use crate::cluster::nodes::serve::Asker;
use crate::cluster::{RelayName, link, nodes};
use crate::tls::authority::{self, Peer};

/// A connection on which nothing was heard for so long is over.
const IDLE_TIMEOUT_MS: u32 = 30_000;
/// This side sends something at least so often.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A handshake takes no longer.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Requests that a client may have under way.
const REQUESTS_AT_ONCE: u32 = 32;
/// What a peer may send on one stream before it is read: a request and its length, with room to spare. A relay's stream
/// is served by the same limit, in turns.
const STREAM_WINDOW: u32 = 64 * 1024;
/// What a peer may send on all of its streams before it is read.
const RECEIVE_WINDOW: u32 = 512 * 1024;
/// What this side keeps until the peer has acknowledged it.
const SEND_WINDOW: u64 = 2 * 1024 * 1024;
/// Handshakes at a time beyond which strangers have to prove their address first (RFC 9000 §8.1).
const HANDSHAKES_BEFORE_RETRY: usize = 256;

/// The endpoint's settings.
pub fn server_config(tls: QuicServerConfig) -> ServerConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(REQUESTS_AT_ONCE))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .send_window(SEND_WINDOW);
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(Arc::new(transport));
    config
}

/// Takes connections in until the endpoint is closed.
pub async fn listen(endpoint: Endpoint, server: Arc<Server>) {
    let handshakes = Arc::new(());
    while let Some(incoming) = endpoint.accept().await {
        let many = Arc::strong_count(&handshakes) > HANDSHAKES_BEFORE_RETRY;
        if (many || server.clients.is_busy())
            && !incoming.remote_address_validated()
            && incoming.may_retry()
        {
            // Fails only for one that was retried before.
            let _ = incoming.retry();
            continue;
        }
        let source = Source::from(incoming.remote_address().ip());
        let Some(place) = server.clients.admit(source) else {
            incoming.refuse();
            continue;
        };
        let (server, handshake) = (server.clone(), handshakes.clone());
        tokio::spawn(async move {
            let connection = shake_hands(incoming).await;
            drop(handshake);
            if let Some(connection) = connection {
                serve(connection, place, source, server).await;
            }
        });
    }
}

async fn shake_hands(incoming: Incoming) -> Option<Connection> {
    let connecting = incoming.accept().ok()?;
    let done = tokio::time::timeout(HANDSHAKE_DEADLINE, connecting).await;
    match done.ok()? {
        Ok(connection) => Some(connection),
        Err(error) => {
            tracing::debug!(reason = handshake_failure(&error), "a handshake failed");
            None
        }
    }
}

async fn serve(connection: Connection, place: Place, source: Source, server: Arc<Server>) {
    let handshake = connection.handshake_data();
    let handshake = handshake.and_then(|data| data.downcast::<HandshakeData>().ok());
    let is_cluster = handshake
        .and_then(|data| data.protocol)
        .is_some_and(|protocol| protocol == cluster::ALPN);
    if !is_cluster {
        connection::serve(connection, source, server).await;
    } else {
        match peer_of(&connection) {
            Some((Peer::Relay(name), issued)) => {
                serve_relay(connection, name, issued, &server).await;
            }
            Some((Peer::Node(name), _)) => {
                nodes::serve::serve(connection, Asker::Node(name), server).await;
            }
            Some((Peer::Operator, _)) => {
                nodes::serve::serve(connection, Asker::Operator, server).await;
            }
            None => {
                tracing::warn!("a peer without a relay's or node's certificate was turned away");
                close::NOT_A_RELAY.close(&connection);
            }
        }
    }
    drop(place);
}

/// Serves a relay's link for as long as the relay's identity is good.
async fn serve_relay(connection: Connection, name: RelayName, issued: UnixMillis, server: &Server) {
    if server.revoked.refuses(&name, issued).await {
        tracing::warn!(relay = %name, "a relay whose identity is revoked was turned away");
        server.relays.give_up(&name);
        return close::REVOKED.close(&connection);
    }
    let mut serving = pin!(link::serve(
        connection.clone(),
        name.clone(),
        server.relays.clone()
    ));
    tokio::select! {
        () = &mut serving => return,
        () = server.revoked.until_revoked(&name, issued) => {}
    }
    tracing::warn!(relay = %name, "the relay's identity is revoked: its link is closed");
    close::REVOKED.close(&connection);
    serving.await;
    // Nobody is asked whether they still hear it.
    server.relays.give_up(&name);
}

/// Who the connection's certificate names, and when it was made; TLS has verified that the cluster CA signed it.
fn peer_of(connection: &Connection) -> Option<(Peer, UnixMillis)> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    let certificate = chain.first()?;
    Some((
        authority::peer(certificate)?,
        authority::issued(certificate),
    ))
}

/// The error's own text may hold addresses.
fn handshake_failure(error: &quinn::ConnectionError) -> &'static str {
    match error {
        quinn::ConnectionError::TimedOut => "no answer",
        quinn::ConnectionError::TransportError(_) => "TLS or transport error",
        _ => "closed by the peer",
    }
}
