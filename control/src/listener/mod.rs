//! The server's endpoint: accepts connections of clients, relays, nodes and operators.
//!
//! * [`transport`]: QUIC settings; [`connection_ids`]: generates connection IDs;
//! * [`handshake_limits`]: limits handshakes; [`amplification`]: limits bytes sent to unvalidated addresses; [`links`]: slots for
//!   links of relays and nodes.

pub mod amplification;
pub mod connection_ids;
pub mod handshake_limits;
pub mod links;
pub mod transport;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_protocol::cluster;
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, Endpoint, Incoming};
use rustls::pki_types::CertificateDer;

use self::amplification::{AmplificationLimit, Unvalidated};
use self::handshake_limits::{Admission, Handshake, HandshakeLimits};
use self::links::{LinkSlot, Links};
use crate::api::connection;
use crate::api::windows::Windows;
use crate::clock::UnixMillis;
use crate::cluster::link;
use crate::domain::{Peer, RelayName};
use crate::metrics::connections::{HandshakeOutcome, Handshakes};
use crate::peer_api::serve::{self, Requester};
use crate::source::Source;
use crate::tls::certificate;
use crate::{api, close, peer_api};

/// Time limit for a handshake.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Accepts connections and passes them to the services of clients or of relays, nodes and operators.
pub struct Listener {
    handshakes: HandshakeLimits,
    amplification: AmplificationLimit,
    links: Links,
    api: Arc<api::Services>,
    peer_api: Arc<peer_api::Services>,
}

impl Listener {
    /// A listener without connections. `handshakes` limits handshakes, in all and of each source.
    pub fn new(
        handshakes: HandshakeLimits,
        api: Arc<api::Services>,
        peer_api: Arc<peer_api::Services>,
    ) -> Self {
        Self {
            handshakes,
            amplification: AmplificationLimit::default(),
            links: Links::default(),
            api,
            peer_api,
        }
    }

    /// The limit of bytes sent to unvalidated addresses.
    pub fn amplification(&self) -> &AmplificationLimit {
        &self.amplification
    }

    /// The links of relays, nodes and operators.
    pub fn links(&self) -> &Links {
        &self.links
    }
}

/// Accepts connections until the endpoint is closed.
pub async fn listen(endpoint: Endpoint, listener: Arc<Listener>) {
    let (limits, amplification) = (&listener.handshakes, &listener.amplification);
    while let Some(incoming) = endpoint.accept().await {
        let (address, now) = (incoming.remote_address(), Instant::now());
        let (source, is_validated) = (
            Source::from(address.ip()),
            incoming.remote_address_validated(),
        );
        let handshake = match limits.admit(source, is_validated, now) {
            Admission::Admit(handshake) => handshake,
            Admission::Retry => {
                // Fails only after a Retry, when the address is validated already.
                let _ = incoming.retry();
                continue;
            }
            Admission::Refuse => {
                incoming.refuse();
                continue;
            }
        };
        let unvalidated = (!is_validated).then(|| amplification.begin(address, now));
        let listener = listener.clone();
        tokio::spawn(async move {
            let handshakes = &listener.api.metrics.connections.handshakes;
            let shaking = complete_handshake(incoming, unvalidated, handshakes, &handshake);
            if let Some(connection) = shaking.await {
                drop(handshake);
                serve(connection, address, &listener).await;
            }
        });
    }
}

async fn complete_handshake(
    incoming: Incoming,
    unvalidated: Option<Unvalidated>,
    handshakes: &Handshakes,
    handshake: &Handshake,
) -> Option<Connection> {
    let connecting = async { incoming.accept()?.await };
    let done = tokio::select! {
        done = tokio::time::timeout(HANDSHAKE_DEADLINE, connecting) => done.ok(),
        () = handshake.evicted() => {
            handshakes.count(HandshakeOutcome::Evicted);
            return None;
        }
    };
    match done {
        Some(Ok(connection)) => {
            if let Some(unvalidated) = unvalidated {
                unvalidated.validated();
            }
            return Some(connection);
        }
        Some(Err(error)) => {
            tracing::debug!(reason = handshake_failure(&error), "a handshake failed");
        }
        None => {}
    }
    handshakes.count(HandshakeOutcome::Failed);
    None
}

async fn serve(connection: Connection, address: SocketAddr, listener: &Listener) {
    let handshake = connection.handshake_data();
    let handshake = handshake.and_then(|data| data.downcast::<HandshakeData>().ok());
    let is_cluster = handshake
        .and_then(|data| data.protocol)
        .is_some_and(|protocol| protocol == cluster::ALPN);
    let source = Source::from(address.ip());
    if is_cluster {
        serve_link(connection, source, listener).await;
    } else {
        connection::serve(connection, source, listener.api.clone()).await;
    }
}

/// Serves a relay, a node or an operator's command, if its certificate names one.
async fn serve_link(connection: Connection, source: Source, listener: &Listener) {
    let services = &listener.peer_api;
    let Some((peer, issued)) = peer_of(&connection) else {
        tracing::warn!("refused a peer whose certificate names no relay, node or operator");
        let closes = &listener.api.metrics.connections.closes;
        close::NOT_A_RELAY
            .counted_as()
            .inspect(|as_| closes.count(*as_));
        return close::NOT_A_RELAY.close(&connection);
    };
    let Some(_place) = slot_of(&peer, &listener.links) else {
        tracing::warn!("refused a link: the identity has too many");
        return close::TOO_MANY_LINKS.close(&connection);
    };
    listener.handshakes.trust(source, Instant::now());
    Windows::LINK.set(&connection);
    match peer {
        Peer::Relay(name) => serve_relay(connection, name, issued, services).await,
        Peer::Node(name) => {
            serve::serve(connection, Requester::Node(name), issued, services.clone()).await
        }
        Peer::Operator => {
            serve::serve(connection, Requester::Operator, issued, services.clone()).await
        }
    }
}

fn slot_of(peer: &Peer, links: &Links) -> Option<LinkSlot> {
    match peer {
        Peer::Relay(name) => links.admit(&format!("relay {name}")),
        Peer::Node(name) => links.admit(&format!("node {name}")),
        Peer::Operator => links.admit("operator"),
    }
}

/// Serves a relay's link until it ends or the relay's identity is revoked.
async fn serve_relay(
    connection: Connection,
    name: RelayName,
    issued: UnixMillis,
    services: &peer_api::Services,
) {
    if services.revoked.refuses(&name, issued).await {
        tracing::warn!(relay = %name, "refused a relay: its identity is revoked");
        services.relays.lose_sessions(&name);
        return close::REVOKED.close(&connection);
    }
    let mut serving = pin!(link::serve(
        connection.clone(),
        name.clone(),
        services.relays.clone()
    ));
    tokio::select! {
        () = &mut serving => return,
        () = services.revoked.until_revoked(&name, issued) => {}
    }
    tracing::warn!(relay = %name, "closing the link of a relay: its identity is revoked");
    close::REVOKED.close(&connection);
    serving.await;
    // Participants are not asked whether they still reach the relay.
    services.relays.lose_sessions(&name);
}

/// The peer that the connection's certificate names, and the time of issue. TLS has verified the signature of the cluster CA.
fn peer_of(connection: &Connection) -> Option<(Peer, UnixMillis)> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    let certificate = chain.first()?;
    Some((
        certificate::peer(certificate)?,
        certificate::issued(certificate),
    ))
}

/// The error's own text may contain addresses.
fn handshake_failure(error: &quinn::ConnectionError) -> &'static str {
    match error {
        quinn::ConnectionError::TimedOut => "no answer",
        quinn::ConnectionError::TransportError(_) => "TLS or transport error",
        _ => "closed by the peer",
    }
}
