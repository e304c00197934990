//! Sockets that share a port, and the worker threads that use them.
//!
//! `linux` has the driver for Linux; `portable` has the one for other systems, with one worker and a call a datagram.

#[cfg(all(target_os = "linux", not(feature = "portable")))]
mod group;
#[cfg(all(target_os = "linux", not(feature = "portable")))]
mod linux;
mod pin;
mod portable;
mod sync;
mod threads;
mod wake_flag;
mod waker;

use std::io;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use socket2::{Domain, Protocol, Socket, Type};

use crate::core::KernelTime;
use crate::descriptors;

#[cfg(all(target_os = "linux", not(feature = "portable")))]
pub use group::{PortLock, bind_group};
#[cfg(all(target_os = "linux", not(feature = "portable")))]
pub use linux::UdpDriver;
pub use pin::{Pinning, allowed_cores};
pub use portable::UdpDriver as PortableDriver;
#[cfg(any(not(target_os = "linux"), feature = "portable"))]
pub use portable::{PortLock, UdpDriver, bind_group};
pub use threads::WorkerThread;
pub use waker::Waker;

/// Addresses that a relay listens on, at most.
pub const MAX_LISTEN: usize = 8;

/// Workers that can share a port, at most: a connection id names one by a byte.
#[cfg(all(target_os = "linux", not(feature = "portable")))]
pub const MOST_WORKERS: usize = 256;
/// Workers that can share a port, at most: only Linux can steer datagrams to the right one.
#[cfg(any(not(target_os = "linux"), feature = "portable"))]
pub const MOST_WORKERS: usize = 1;

/// The sockets of all workers.
pub struct SocketGroup {
    /// One for each worker, in order, with a socket for each address.
    pub drivers: Vec<UdpDriver>,
    /// The addresses that they listen on, with the real ports.
    pub addresses: Vec<SocketAddr>,
    /// Hold the ports against other relays until they are dropped.
    pub locks: Vec<PortLock>,
}

/// The reason why no sockets could be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another relay has the port.
    #[error(
        "another relay already listens on UDP port {0}: stop it, or choose another port with --listen"
    )]
    PortTaken(u16),
    /// The system refused.
    #[error(
        "cannot listen on UDP {address}: {error}; {}",
        descriptors::advice(error).unwrap_or("choose another address with --listen")
    )]
    Socket {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The system refused what is needed to wait for datagrams.
    #[error("cannot wait for datagrams: {0}; {advice}", advice = descriptors::advice(.0).unwrap_or("the system may lack memory; see its log"))]
    Driver(io::Error),
    /// More workers than can share a port on this system.
    #[error("--workers is {MOST_WORKERS} at most on this system, not {0}")]
    Workers(usize),
    /// More addresses than a relay takes.
    #[error("{0} addresses to listen on are too many: give --listen at most {MAX_LISTEN}")]
    TooMany(usize),
}

/// The reason why audio cannot go around the UDP stack.
#[derive(Debug, thiserror::Error)]
pub enum TransmitError {
    /// The process may not open packet sockets.
    #[error(
        "--transmit packet needs CAP_NET_RAW: `setcap cap_net_raw+ep` on the program, `AmbientCapabilities=CAP_NET_RAW` \
         in its systemd unit, or --transmit socket"
    )]
    NotPermitted,
    /// There are none on this system.
    #[error(
        "--transmit packet is for Linux, in a build without the feature `portable`: take --transmit socket"
    )]
    Unsupported,
    /// The system refused something else.
    #[error(
        "cannot prepare for --transmit packet: {0}; {advice}",
        advice = descriptors::advice(.0).unwrap_or("--transmit socket does without")
    )]
    System(io::Error),
}

/// A bound, non-blocking socket. `[::]` serves IPv4 too if `dual`.
fn open(address: SocketAddr, dual: bool, share: bool, buffer: usize) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual)?;
    }
    #[cfg(unix)]
    socket.set_reuse_port(share)?;
    #[cfg(not(unix))]
    let _ = share;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(buffer)?;
    socket.set_send_buffer_size(buffer)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// True if IPv6 sockets serve IPv4 too: not if IPv4 addresses are given by themselves.
fn is_dual(listen: &[SocketAddr]) -> bool {
    listen.iter().all(SocketAddr::is_ipv6)
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?.as_socket();
    address.ok_or_else(|| io::Error::other("the socket has no IP address"))
}

/// The current time by the clock of the kernel's receive timestamps.
fn wall_clock() -> KernelTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    KernelTime(since.map_or(0, |since| since.as_nanos() as u64))
}
