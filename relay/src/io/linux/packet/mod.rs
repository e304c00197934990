//! Audio as Ethernet frames: around the kernel's UDP stack, by a packet socket (`packet(7)`).
//!
//! What a datagram costs a relay is the kernel's way out for it: route, source address, fragmentation, netfilter,
//! neighbour and queue, once for each. A packet socket takes the finished frame and hands it to the device. What those
//! steps would have found is looked up once for each remote address, by a thread of its own ([`resolver`]), and kept by
//! each worker ([`route`]); the headers are laid out here ([`frame`]).
//!
//! Nothing waits for that and nothing is lost by it: what has no route, or whose frame is refused, goes by the UDP
//! socket. Replies always do, so that the kernel goes on using, and so confirming, its own neighbours.
//!
//! Receivers on this very host stay with the UDP socket: an IPv4 frame that a packet socket puts on the loopback interface
//! looks to the kernel as if somebody outside used this host's address, and is dropped.

#![forbid(unsafe_code)]

mod checksum;
pub(super) mod frame;
mod netlink;
mod resolver;
pub(super) mod route;
mod socket;

pub(super) use checksum::Sum;
use socket::PacketSocket;
pub(super) use socket::{DEVICE_NAME_LEN, NO_DEVICE, device_name};

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use route::Routes;

use crate::io::TransmitError;

/// One worker's way around the UDP stack.
pub(super) struct PacketPath {
    socket: PacketSocket,
    /// How frames reach whom.
    pub(super) routes: Routes,
    /// Datagrams that were sent as frames and were not told yet.
    pub(super) sent: u64,
}

impl PacketPath {
    /// For each of `workers` of a relay that listens at `listeners`. `buffer` is asked for as send buffer, in bytes.
    ///
    /// # Errors
    ///
    /// [`TransmitError::NotPermitted`] without `CAP_NET_RAW`.
    pub(super) fn open(
        listeners: &[SocketAddr],
        workers: usize,
        buffer: usize,
    ) -> Result<Vec<Self>, TransmitError> {
        let sockets = (0..workers)
            .map(|_| PacketSocket::open(buffer))
            .collect::<io::Result<Vec<_>>>()
            .map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => TransmitError::NotPermitted,
                _ => TransmitError::System(error),
            })?;
        let routes = resolver::start(listeners, workers).map_err(TransmitError::System)?;
        let paths = sockets.into_iter().zip(routes);
        Ok(paths
            .map(|(socket, routes)| Self {
                socket,
                routes,
                sent: 0,
            })
            .collect())
    }
}

impl AsRawFd for PacketPath {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
