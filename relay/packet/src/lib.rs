//! Sends UDP datagrams as Ethernet frames: around the kernel's UDP stack, by a packet socket (`packet(7)`).
//!
//! The largest part of a relay's cost is the kernel's way out for each datagram: route, source address, fragmentation,
//! netfilter, neighbour and queue. A packet socket takes the finished frame and hands it to the device. The results of
//! those steps are looked up once for each local and remote address, and again when they are old or the network changes, by a
//! thread of its own (`resolver`), and kept by each worker ([`Routes`]); the headers are laid out here ([`Headers`]).
//!
//! No datagram waits for a lookup: one without a route, or whose frame is refused, goes by the UDP socket. The caller sends
//! replies by the UDP socket too, so that the kernel keeps its neighbour entries confirmed.
//!
//! Receivers on this very host stay with the UDP socket: an IPv4 frame that a packet socket puts on the loopback interface
//! looks to the kernel as if a remote host used this host's address, and is dropped.
//!
//! The crate knows addresses and bytes, and nothing of the relay: its caller has the sockets and the system calls that send.

#![cfg(target_os = "linux")]

mod checksum;
mod frame;
mod netlink;
mod resolver;
mod route;
mod socket;

pub use checksum::Sum;
pub use frame::{Headers, MAX_HEAD, Mac};
pub use route::{Found, Route, RouteKey, Routes};
pub use socket::{DEVICE_NAME_LEN, NO_DEVICE, device_name};

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use socket::PacketSocket;

/// One worker's packet socket, and its routes.
pub struct PacketPath {
    socket: PacketSocket,
    routes: Routes,
}

impl PacketPath {
    /// One for each of `workers` of a relay that listens at `listeners`. `buffer` is the send buffer that is asked for, in
    /// bytes; the system may give less.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::PermissionDenied`] without `CAP_NET_RAW`.
    pub fn open(listeners: &[SocketAddr], workers: usize, buffer: usize) -> io::Result<Vec<Self>> {
        let sockets = (0..workers)
            .map(|_| PacketSocket::open(buffer))
            .collect::<io::Result<Vec<_>>>()?;
        let paths = sockets
            .into_iter()
            .zip(resolver::start(listeners, workers)?);
        Ok(paths
            .map(|(socket, routes)| Self { socket, routes })
            .collect())
    }

    /// The routes of the worker.
    pub fn routes(&mut self) -> &mut Routes {
        &mut self.routes
    }
}

impl AsRawFd for PacketPath {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
