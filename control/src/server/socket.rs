//! The server's sockets: UDP for QUIC, TCP for metrics.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::{Endpoint, EndpointConfig, Runtime as _, ServerConfig, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::errors::ServeError;
use crate::listener::amplification::{AmplificationLimit, LimitedSocket};
use crate::listener::connection_ids::RandomIds;

/// Size of the socket's receive and send buffers in bytes: a burst of a thousand handshakes.
const SOCKET_BUFFER: usize = 4 << 20;

pub(super) async fn listen_for_metrics(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let listening = TcpListener::bind(address).await;
    listening.map_err(|source| ServeError::Metrics { address, source })
}

/// Opens the QUIC endpoint on this socket. `amplification` limits bytes sent to unvalidated addresses.
pub(super) fn open(
    socket: UdpSocket,
    settings: ServerConfig,
    amplification: AmplificationLimit,
) -> std::io::Result<Endpoint> {
    let runtime = Arc::new(TokioRuntime);
    let socket = LimitedSocket::new(runtime.wrap_udp_socket(socket)?, amplification);
    let mut ours = EndpointConfig::default();
    ours.cid_generator(|| Box::new(RandomIds));
    Endpoint::new_with_abstract_socket(ours, Some(settings), Arc::new(socket), runtime)
}

/// Opens a UDP socket. The unspecified IPv6 address also accepts IPv4.
pub(super) fn bind(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // The kernel may grant less, which costs retransmissions during a burst.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}
