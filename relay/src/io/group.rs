//! One socket a worker on each address, steered by the connection id's worker byte.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixDatagram;

use super::linux::{UdpDriver, steer_by_worker_byte};
use super::{BindError, MAX_LISTEN, SocketGroup, is_dual, local_address, open};

/// Holds a port against other relays.
pub struct PortLock {
    _name: UnixDatagram,
}

/// Opens one socket a worker on each address of `listen` (port 0: any free one), steered by the connection id's worker
/// byte.
///
/// `buffer` is asked for as receive and send buffer of each, in bytes; the system may give less.
pub fn bind_group(
    listen: &[SocketAddr],
    workers: usize,
    batch: usize,
    buffer: usize,
) -> Result<SocketGroup, BindError> {
    if listen.len() > MAX_LISTEN {
        return Err(BindError::TooMany(listen.len()));
    }
    let mut addresses = Vec::new();
    let mut locks: Vec<(u16, PortLock)> = Vec::new();
    let mut sockets: Vec<Vec<UdpSocket>> = (0..workers).map(|_| Vec::new()).collect();
    for &asked in listen {
        let failed = |error| BindError::Socket {
            address: asked,
            error,
        };
        let first = open(asked, is_dual(listen), true, buffer).map_err(failed)?;
        let address = local_address(&first).map_err(failed)?;
        if !locks.iter().any(|(port, _)| *port == address.port()) {
            let lock = lock_port(address.port()).map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => BindError::PortTaken(address.port()),
                _ => failed(error),
            })?;
            locks.push((address.port(), lock));
        }
        let mut group = vec![first];
        for _ in 1..workers {
            group.push(open(address, is_dual(listen), true, buffer).map_err(failed)?);
        }
        steer_by_worker_byte(&group[0], workers).map_err(failed)?;
        for (of_worker, socket) in sockets.iter_mut().zip(group) {
            of_worker.push(socket.into());
        }
        addresses.push(address);
    }
    let drivers = sockets
        .into_iter()
        .map(|of_worker| UdpDriver::new(of_worker, batch))
        .collect::<io::Result<_>>()
        .map_err(BindError::Driver)?;
    Ok(SocketGroup {
        drivers,
        addresses,
        locks: locks.into_iter().map(|(_, lock)| lock).collect(),
    })
}

/// Port sharing lets any process of the same user join the group and steal datagrams; a name in the abstract socket
/// namespace is held by one process at a time and vanishes with it.
fn lock_port(port: u16) -> io::Result<PortLock> {
    std::os::unix::net::SocketAddr::from_abstract_name(format!("confab-relay/udp/{port}"))
        .and_then(|name| UnixDatagram::bind_addr(&name))
        .map(|name| PortLock { _name: name })
}
