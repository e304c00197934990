//! Takes connections in and tells clients from relays.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::hkdf;
use confab_protocol::cluster;
use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn::{
    BloomTokenLog, Connection, Endpoint, IdleTimeout, Incoming, ServerConfig, TransportConfig,
    ValidationTokenConfig, VarInt,
};
use rustls::pki_types::CertificateDer;

use super::door::{Door, Handshake, Knock};
use super::links::{LinkPlace, Links};
use super::meter::{Meter, Unproved};
use super::{close, connection};
use crate::Server;
use crate::clock::UnixMillis;
use crate::cluster::{RelayName, link};
use crate::metrics::door::Handshake as Verdict;
use crate::peer_api::serve::{self, Asker};
use crate::source::Source;
use crate::tls::authority::{self, Peer};

/// A connection on which nothing was heard for so long is over.
const IDLE_TIMEOUT_MS: u32 = 30_000;
/// This side sends something at least so often.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A handshake takes no longer.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Requests that a signed-in client may have under way.
const REQUESTS_AT_ONCE: u32 = 32;
/// What a peer may send on one stream before it is read: a request and its length, with room to spare. A relay's stream
/// is served by the same limit, in turns.
const STREAM_WINDOW: u32 = 64 * 1024;
/// Handshakes that wait to be looked at; what comes beyond is not answered, and comes again.
const MAX_INCOMING: usize = 1024;
/// Bytes that come with a handshake that waits to be looked at: one's, and all.
const INCOMING_BUFFER: u64 = 16 * 1024;
const INCOMING_BUFFERS: u64 = 4 * 1024 * 1024;
/// A proof of an address, for those who return, is good for so long (RFC 9000 §8.1.3), once at each node.
const PROOF_LIFETIME: Duration = Duration::from_secs(2 * 24 * 60 * 60);
/// Proofs that a client is given with a connection: one for the next, and one for another node.
const PROOFS_GIVEN: u32 = 2;
/// Memory for the proofs that were used, and how many there are expected to be within [`PROOF_LIFETIME`].
const PROOF_LOG_BYTES: usize = 16 * 1024 * 1024;
const PROOFS_EXPECTED: u64 = 4_000_000;
const PROOF_SALT: &[u8] = b"confab address proofs v1";

/// What one connection may have under way.
#[derive(Clone, Copy)]
pub(super) struct Windows {
    /// Requests.
    requests: u32,
    /// Bytes that the peer may send on all of its streams before they are read.
    receive: u32,
    /// Bytes that this side keeps until the peer has acknowledged them.
    send: u32,
}

impl Windows {
    /// Nobody is signed in.
    pub(super) const STRANGER: Self = Self {
        requests: 2,
        receive: 32 * 1024,
        send: 32 * 1024,
    };
    /// Somebody is signed in.
    pub(super) const SIGNED_IN: Self = Self {
        requests: REQUESTS_AT_ONCE,
        receive: 512 * 1024,
        send: 256 * 1024,
    };
    /// A relay or a node.
    const LINK: Self = Self {
        requests: REQUESTS_AT_ONCE,
        receive: 512 * 1024,
        send: 2 * 1024 * 1024,
    };

    /// Holds for the connection from now on. What was allowed before may still come.
    pub(super) fn set(self, connection: &Connection) {
        connection.set_max_concurrent_bi_streams(VarInt::from_u32(self.requests));
        connection.set_receive_window(VarInt::from_u32(self.receive));
        connection.set_send_window(self.send.into());
    }
}

/// Proves to this server later that somebody is at an address. Of the cluster's key, so that all nodes take each other's proofs.
pub fn proof_key(key: &[u8; 32]) -> Arc<hkdf::Prk> {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, PROOF_SALT);
    Arc::new(salt.extract(key))
}

/// The endpoint's settings. Every connection begins as a stranger's.
pub fn server_config(tls: QuicServerConfig, proofs: Arc<hkdf::Prk>) -> ServerConfig {
    let windows = Windows::STRANGER;
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(windows.requests))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(windows.receive))
        .send_window(windows.send.into());
    let mut given = ValidationTokenConfig::default();
    given
        .lifetime(PROOF_LIFETIME)
        .log(Arc::new(BloomTokenLog::new_expected_items(
            PROOF_LOG_BYTES,
            PROOFS_EXPECTED,
        )))
        .sent(PROOFS_GIVEN);
    let mut config = ServerConfig::new(Arc::new(tls), proofs);
    config
        .transport_config(Arc::new(transport))
        .validation_token_config(given)
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFERS);
    config
}

/// What the listener decides with.
#[derive(Clone)]
pub struct Gatekeeper {
    /// Who may shake hands.
    pub door: Door,
    /// What is sent to addresses that are not proved.
    pub meter: Meter,
    /// Links of relays and nodes.
    pub links: Links,
}

/// Takes connections in until the endpoint is closed.
pub async fn listen(endpoint: Endpoint, server: Arc<Server>) {
    let Gatekeeper { door, meter, .. } = &server.gatekeeper;
    while let Some(incoming) = endpoint.accept().await {
        let (address, now) = (incoming.remote_address(), Instant::now());
        let (source, is_proved) = (
            Source::from(address.ip()),
            incoming.remote_address_validated(),
        );
        let handshake = match door.knock(source, is_proved, now) {
            Knock::Admit(handshake) => handshake,
            Knock::Prove => {
                // Fails only for one that was retried before, and is proved then.
                let _ = incoming.retry();
                continue;
            }
            Knock::Refuse => {
                incoming.refuse();
                continue;
            }
        };
        let unproved = (!is_proved).then(|| meter.begin(address, now));
        let server = server.clone();
        tokio::spawn(async move {
            let shaking = shake_hands(incoming, unproved, &server, &handshake);
            if let Some(connection) = shaking.await {
                drop(handshake);
                serve(connection, address, server).await;
            }
        });
    }
}

async fn shake_hands(
    incoming: Incoming,
    unproved: Option<Unproved>,
    server: &Server,
    handshake: &Handshake,
) -> Option<Connection> {
    let handshakes = &server.metrics.door.handshakes;
    let connecting = async { incoming.accept()?.await };
    let done = tokio::select! {
        done = tokio::time::timeout(HANDSHAKE_DEADLINE, connecting) => done.ok(),
        () = handshake.crowded_out() => {
            handshakes.count(Verdict::CrowdedOut);
            return None;
        }
    };
    match done {
        Some(Ok(connection)) => {
            if let Some(unproved) = unproved {
                unproved.proved();
            }
            return Some(connection);
        }
        Some(Err(error)) => {
            tracing::debug!(reason = handshake_failure(&error), "a handshake failed");
        }
        None => {}
    }
    handshakes.count(Verdict::Failed);
    None
}

async fn serve(connection: Connection, address: SocketAddr, server: Arc<Server>) {
    let handshake = connection.handshake_data();
    let handshake = handshake.and_then(|data| data.downcast::<HandshakeData>().ok());
    let is_cluster = handshake
        .and_then(|data| data.protocol)
        .is_some_and(|protocol| protocol == cluster::ALPN);
    let source = Source::from(address.ip());
    if is_cluster {
        serve_link(connection, source, server).await;
    } else {
        connection::serve(connection, source, server).await;
    }
}

/// Serves a relay, a node or an operator's command, if it shows a certificate for that.
async fn serve_link(connection: Connection, source: Source, server: Arc<Server>) {
    let Some((peer, issued)) = peer_of(&connection) else {
        tracing::warn!("a peer without a relay's or node's certificate was turned away");
        let closes = &server.metrics.door.closes;
        close::NOT_A_RELAY
            .counted_as()
            .inspect(|as_| closes.count(*as_));
        return close::NOT_A_RELAY.close(&connection);
    };
    let Some(_place) = place_of(&peer, &server.gatekeeper.links) else {
        tracing::warn!("an identity with too many links was turned away");
        return close::TOO_MANY_LINKS.close(&connection);
    };
    server.gatekeeper.door.trust(source, Instant::now());
    Windows::LINK.set(&connection);
    match peer {
        Peer::Relay(name) => serve_relay(connection, name, issued, &server).await,
        Peer::Node(name) => serve::serve(connection, Asker::Node(name), server).await,
        Peer::Operator => serve::serve(connection, Asker::Operator, server).await,
    }
}

fn place_of(peer: &Peer, links: &Links) -> Option<LinkPlace> {
    match peer {
        Peer::Relay(name) => links.admit(&format!("relay {name}")),
        Peer::Node(name) => links.admit(&format!("node {name}")),
        Peer::Operator => links.admit("operator"),
    }
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
