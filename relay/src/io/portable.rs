//! The driver for systems without `recvmmsg` and `sendmmsg`: one worker, and a call for each datagram.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use super::waker::Waker;
#[cfg(any(not(target_os = "linux"), feature = "portable"))]
use super::{BindError, MOST_WORKERS, SocketGroup, is_dual, local_address, open};
use super::{MAX_LISTEN, TransmitError, wall_clock};
use crate::core::{FourTuple, Outgoing, Packet, PacketPool, Received, SendStatus, Transport};
use crate::core::{KernelTime, PACKET_CAPACITY};

/// The token of the waker; sockets have their index.
const WAKE: Token = Token(MAX_LISTEN);

/// One worker's sockets, one for each address.
pub struct UdpDriver {
    sockets: Vec<mio::net::UdpSocket>,
    poll: Poll,
    events: Events,
    waker: Waker,
    batch: usize,
    /// True if the last receive emptied every socket. Only then does the system report new datagrams.
    is_drained: bool,
    scratch: Vec<u8>,
}

/// Holds a port against other relays: here the system does, for the port is not shared.
#[cfg(any(not(target_os = "linux"), feature = "portable"))]
pub struct PortLock;

impl UdpDriver {
    /// A driver over bound, non-blocking sockets, [`MAX_LISTEN`] at most, that receives `batch` datagrams at a time, at
    /// most.
    pub fn new(sockets: Vec<UdpSocket>, batch: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut sockets: Vec<_> = sockets
            .into_iter()
            .map(mio::net::UdpSocket::from_std)
            .collect();
        for (at, socket) in sockets.iter_mut().enumerate() {
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(socket, Token(at), both)?;
        }
        let wake = mio::Waker::new(poll.registry(), WAKE)?;
        Ok(Self {
            waker: Waker::new(move || {
                // It fails only when the system is out of memory, and then the driver's wait is short anyway.
                let _ = wake.wake();
            }),
            events: Events::with_capacity(MAX_LISTEN + 1),
            sockets,
            poll,
            batch,
            is_drained: false,
            scratch: Vec::with_capacity(PACKET_CAPACITY),
        })
    }

    /// Wakes the thread that waits in this driver.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// To be called before the queues of other threads are checked. Acknowledges the wakings so far.
    pub fn note_wakings(&self) {
        self.waker.wake_flag().acknowledge();
    }

    /// Waits until there is something new to receive, until something may be sent again, until it is woken or until
    /// `timeout` has passed. Does not wait when it was woken since [`note_wakings`](Self::note_wakings).
    pub fn wait(&mut self, timeout: Duration, _to_send: bool) -> io::Result<()> {
        if !self.is_drained || !self.waker.wake_flag().begin_wait() {
            return Ok(());
        }
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}

impl UdpDriver {
    /// Not possible here: only the driver for Linux sends audio around the UDP stack.
    ///
    /// # Errors
    ///
    /// Always: there is no such way here.
    pub fn transmit_by_packet(
        _drivers: &mut [Self],
        _listeners: &[SocketAddr],
        _buffer: usize,
    ) -> Result<(), TransmitError> {
        Err(TransmitError::Unsupported)
    }
}

impl Transport for UdpDriver {
    fn receive(
        &mut self,
        pool: &mut PacketPool,
        received: &mut Vec<Box<Packet>>,
    ) -> io::Result<()> {
        self.is_drained = true;
        for (at, socket) in self.sockets.iter().enumerate() {
            self.is_drained &= receive_from(at as u8, socket, self.batch, pool, received);
        }
        Ok(())
    }

    fn elapsed(&self, received: KernelTime) -> Option<Duration> {
        received.until(wall_clock())
    }

    fn send(&mut self, chunk: &[Outgoing<'_>]) -> SendStatus {
        for (sent, outgoing) in chunk.iter().enumerate() {
            let Some(socket) = self.sockets.get(usize::from(outgoing.to.local)) else {
                return SendStatus::Refused { sent };
            };
            self.scratch.clear();
            for piece in [&outgoing.head, outgoing.body[0], outgoing.body[1]] {
                self.scratch.extend_from_slice(piece);
            }
            match socket.send_to(&self.scratch, outgoing.to.remote) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return SendStatus::WouldBlock { sent };
                }
                Err(_) => return SendStatus::Refused { sent },
            }
        }
        SendStatus::All
    }
}

/// Opens a socket on each address of `listen` (port 0: any free one), for the one worker that there may be.
///
/// `buffer` is asked for as receive and send buffer of each, in bytes; the system may give less.
#[cfg(any(not(target_os = "linux"), feature = "portable"))]
pub fn bind_group(
    listen: &[SocketAddr],
    workers: usize,
    batch: usize,
    buffer: usize,
) -> Result<SocketGroup, BindError> {
    if workers > MOST_WORKERS {
        return Err(BindError::Workers(workers));
    }
    if listen.len() > MAX_LISTEN {
        return Err(BindError::TooMany(listen.len()));
    }
    let failed = |address| move |error| BindError::Socket { address, error };
    let mut addresses = Vec::new();
    let mut sockets = Vec::new();
    for &address in listen {
        let socket = open(address, is_dual(listen), false, buffer).map_err(failed(address))?;
        addresses.push(local_address(&socket).map_err(failed(address))?);
        sockets.push(socket.into());
    }
    let driver = UdpDriver::new(sockets, batch).map_err(BindError::Driver)?;
    Ok(SocketGroup {
        drivers: vec![driver],
        addresses,
        locks: Vec::new(),
    })
}

/// Receives `most` datagrams at most. True when there are no more.
fn receive_from(
    local: u8,
    socket: &mio::net::UdpSocket,
    most: usize,
    pool: &mut PacketPool,
    received: &mut Vec<Box<Packet>>,
) -> bool {
    for _ in 0..most {
        let Some(mut packet) = pool.take() else {
            return false;
        };
        match socket.recv_from(&mut packet.data) {
            Ok((len, remote)) => {
                packet.filled(Received {
                    len,
                    from: FourTuple { remote, local },
                    at: wall_clock(),
                    waited: Duration::ZERO,
                });
                received.push(packet);
            }
            Err(error) => {
                pool.give(packet);
                if error.kind() == io::ErrorKind::WouldBlock {
                    return true;
                }
                // Some systems tell here that an earlier datagram was refused, or that this one was too long.
            }
        }
    }
    false
}
