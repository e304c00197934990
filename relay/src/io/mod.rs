//! Datagrams in and out: sockets that share a port, and the worker threads behind them.

pub mod linux;
pub mod threads;

use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixDatagram;

use socket2::{Domain, Protocol, Socket, Type};

pub use linux::{UdpDriver, Waker};

/// Sockets of all workers on one port.
pub struct SocketGroup {
    /// One for each worker, in order.
    pub drivers: Vec<UdpDriver>,
    /// Where they listen, with the real port.
    pub address: SocketAddr,
    /// Keeps other relays off the port; released with the process.
    pub lock: UnixDatagram,
}

/// Why there are no sockets.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another relay has the port.
    #[error(
        "another relay already listens on UDP port {0}: stop it, or choose another port with --listen"
    )]
    PortTaken(u16),
    /// The system refused.
    #[error("cannot listen on UDP {address}: {error}; choose another address with --listen")]
    Socket {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
}

/// Opens one socket a worker on `listen` (port 0: any free one), steered by the connection id's worker byte.
///
/// `buffer` is asked for as receive and send buffer of each, in bytes; the system may give less.
pub fn bind_group(
    listen: SocketAddr,
    workers: usize,
    batch: usize,
    buffer: usize,
) -> Result<SocketGroup, BindError> {
    let failed = |address| move |error| BindError::Socket { address, error };
    let first = open(listen, buffer).map_err(failed(listen))?;
    let address = local_address(&first).map_err(failed(listen))?;
    let lock = lock_port(address.port())?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(open(address, buffer).map_err(failed(address))?);
    }
    linux::steer_by_worker_byte(&sockets[0], workers).map_err(failed(address))?;
    let drivers = sockets
        .into_iter()
        .map(|socket| UdpDriver::new(socket.into(), batch))
        .collect::<io::Result<_>>()
        .map_err(failed(address))?;
    Ok(SocketGroup {
        drivers,
        address,
        lock,
    })
}

fn open(address: SocketAddr, buffer: usize) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        // [::] serves IPv4 too.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(buffer)?;
    socket.set_send_buffer_size(buffer)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?.as_socket();
    address.ok_or_else(|| io::Error::other("the socket has no IP address"))
}

/// Port sharing lets any process of the same user join the group and steal datagrams; a name in the abstract socket
/// namespace is held by one process at a time and vanishes with it.
fn lock_port(port: u16) -> Result<UnixDatagram, BindError> {
    std::os::unix::net::SocketAddr::from_abstract_name(format!("confab-relay/udp/{port}"))
        .and_then(|name| UnixDatagram::bind_addr(&name))
        .map_err(|_| BindError::PortTaken(port))
}
