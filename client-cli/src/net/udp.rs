//! The sockets of the media: one for each family of addresses, changed when the network changes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// Bytes that the kernel may hold for each socket and direction: a second of thirty speakers.
const SOCKET_BUFFER: usize = 256 * 1024;

/// Size of the receive buffer: the largest datagram, and a byte to detect a larger one.
pub const RECEIVE_LEN: usize = confab_protocol::media::MAX_DATAGRAM + 1;

/// A socket for each address family of the machine.
#[derive(Debug)]
pub struct Sockets {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

impl Sockets {
    /// Opens both sockets; an error if neither opens.
    pub fn open() -> io::Result<Self> {
        let v4 = open(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, 0).into());
        let v6 = open(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, 0).into());
        match (v4, v6) {
            (Err(error), Err(_)) => Err(error),
            (v4, v6) => Ok(Self {
                v4: v4.ok(),
                v6: v6.ok(),
            }),
        }
    }

    /// Opens new sockets, with new ports; on an error the old ones stay.
    pub fn rebind(&mut self) -> io::Result<()> {
        *self = Self::open()?;
        Ok(())
    }

    /// Sends without waiting. What the kernel has no room for is lost, as any datagram may be; other errors say that
    /// there is no way to `to` now.
    pub fn send(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        let Some(socket) = socket else {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        };
        match socket.try_send_to(datagram, to) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            result => result.map(|_| ()),
        }
    }

    /// Waits for a datagram. Errors of an earlier send are ignored: missing answers reveal them.
    pub async fn receive(&self, buffer: &mut [u8]) -> (usize, SocketAddr) {
        loop {
            tokio::select! {
                () = readable(self.v4.as_ref()) => {}
                () = readable(self.v6.as_ref()) => {}
            }
            if let Some(received) = self.try_receive(buffer) {
                return received;
            }
        }
    }

    /// A datagram that has arrived already.
    pub fn try_receive(&self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        [&self.v4, &self.v6]
            .into_iter()
            .flatten()
            .find_map(|socket| socket.try_recv_from(buffer).ok())
    }
}

/// The local address of a datagram to `to`. It changes when the network changes.
pub fn local_address_towards(to: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = std::net::UdpSocket::bind(any).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

async fn readable(socket: Option<&UdpSocket>) {
    match socket {
        // An error shows at the receive that follows.
        Some(socket) => drop(socket.readable().await),
        None => std::future::pending().await,
    }
}

fn open(domain: Domain, local: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    // Smaller buffers than asked for still work.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&local.into())?;
    UdpSocket::from_std(socket.into())
}
