//! From a server's name to a QUIC connection with one of its addresses.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use confab_protocol::control::ALPN;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, Endpoint, IdleTimeout, TransportConfig, VarInt};

use super::streams::MAX_STREAMS;
use crate::net::Server;
use crate::net::address_tokens::AddressTokens;
use crate::net::errors::{ConnectError, plain};
use crate::net::race::race;
use crate::net::trust::{Check, ServerVerdict};
use crate::net::verifier::ServerVerifier;

/// Time limit for resolving a name, and again for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Head start of an address before the next one is tried as well (RFC 8305 §5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// QUIC's own time for a silent peer: the handshake has as long as a try to connect, and a server forgets a connection that
/// was lost soon, as it takes the shorter of both sides' times. See `Silence` for a connection that stands.
const IDLE_TIMEOUT: Duration = CONNECT_TIMEOUT;

/// The round trip that is assumed until one is measured. A lost first datagram is sent again after three times that, and then
/// at doubling intervals: with QUIC's 333 ms (RFC 9002 §6.2.2) one loss would delay a join by a second. Over a longer path the
/// client sends one datagram too many.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// Time between two keep-alives on an idle connection.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// TLS alert `no_application_protocol` (RFC 7301 §3.2): the server speaks no version that has this ALPN.
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// The addresses of a server, within [`CONNECT_TIMEOUT`].
pub(super) async fn resolve_in_time(server: &Server) -> Result<Vec<SocketAddr>, ConnectError> {
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

pub(super) type Connected = (quinn::Connection, Endpoint, ServerVerdict);

pub(super) async fn connect_to_any(
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

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = IdleTimeout::try_from(IDLE_TIMEOUT).expect("a few seconds fit into a QUIC integer");
    transport
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_rtt(INITIAL_RTT)
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(MAX_STREAMS));
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

pub(super) fn unreachable(server: &Server, reason: &str) -> ConnectError {
    ConnectError::Unreachable {
        server: server.to_string(),
        reason: reason.to_owned(),
    }
}
