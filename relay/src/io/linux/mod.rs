//! Batches of datagrams through `recvmmsg` and `sendmmsg`, with scatter-gather. The only unsafe code of the relay.
#![allow(unsafe_code)]

mod options;
mod outbox;
mod records;

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use confab_relay_packet::PacketPath;

pub(super) use options::steer_by_worker_byte;
use options::switch_on;
use outbox::Outbox;
use records::{read_control, read_name, zeroed_name};

use super::waker::Waker;
use super::{MAX_LISTEN, TransmitError, wall_clock};
use crate::core::KernelTime;
use crate::core::{FourTuple, Outgoing, Packet, PacketPool, Received, SendStatus, Transport};

/// One worker's sockets, one for each address, with the arrays that the system calls want.
pub struct UdpDriver {
    listeners: ArrayVec<Listener, MAX_LISTEN>,
    /// Index of the listener that is read first: each in turn.
    turn: usize,
    waker: Waker,
    /// The event counter that ends a wait.
    wake: Arc<OwnedFd>,
    /// Buffers that the next receive fills.
    filling: Vec<Box<Packet>>,
    batch: usize,
    /// Datagrams that the kernel has dropped and that were not counted yet.
    kernel_drops: u64,
    receive: Box<[ReceiveSlot]>,
    receive_headers: Box<[libc::mmsghdr]>,
    outbox: Outbox,
    /// The way around the UDP stack for audio, if it is in use.
    packet: Option<PacketPath>,
}

struct Listener {
    socket: UdpSocket,
    /// False if the last poll found nothing to read.
    may_have: bool,
    /// Datagrams that the kernel has dropped since the socket was opened.
    dropped: u32,
}

struct ReceiveSlot {
    name: libc::sockaddr_in6,
    piece: libc::iovec,
    control: ControlBuffer,
}

/// Room for a receive timestamp and a count of drops, each behind its header.
#[repr(align(8))]
struct ControlBuffer([u8; CONTROL_LEN]);

const CONTROL_LEN: usize = 64;

// SAFETY: the raw pointers in the arrays are written right before each system call and read by nobody after it.
unsafe impl Send for UdpDriver {}

impl UdpDriver {
    /// A driver over bound, non-blocking sockets, [`MAX_LISTEN`] at most, that receives `batch` datagrams at a time, at
    /// most.
    pub fn new(sockets: Vec<UdpSocket>, batch: usize) -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers; a non-negative result is a descriptor that nobody else owns.
        let wake = unsafe {
            let fd = libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let wake = Arc::new(wake);
        let receive = || ReceiveSlot {
            name: zeroed_name(),
            piece: EMPTY_PIECE,
            control: ControlBuffer([0; CONTROL_LEN]),
        };
        let mut listeners = ArrayVec::new();
        for socket in sockets {
            for option in [libc::SO_TIMESTAMPNS, libc::SO_RXQ_OVFL] {
                switch_on(&socket, option)?;
            }
            let listener = Listener {
                socket,
                may_have: true,
                dropped: 0,
            };
            let added = listeners.try_push(listener);
            added.map_err(|_| io::Error::other("more sockets than a driver may have"))?;
        }
        Ok(Self {
            listeners,
            turn: 0,
            waker: Waker::new({
                let wake = Arc::clone(&wake);
                move || end_wait(&wake)
            }),
            wake,
            filling: Vec::with_capacity(batch),
            batch,
            kernel_drops: 0,
            receive: (0..batch).map(|_| receive()).collect(),
            receive_headers: (0..batch).map(|_| zeroed_header()).collect(),
            outbox: Outbox::new(),
            packet: None,
        })
    }

    /// Has the drivers of all workers of a relay that listens at `listeners` send audio as Ethernet frames, around the UDP
    /// stack, to all addresses that frames can reach. `buffer` is asked for as send buffer of each, in bytes; the system may give less.
    ///
    /// # Errors
    ///
    /// [`TransmitError::NotPermitted`] without `CAP_NET_RAW`.
    pub fn transmit_by_packet(
        drivers: &mut [Self],
        listeners: &[SocketAddr],
        buffer: usize,
    ) -> Result<(), TransmitError> {
        let paths = PacketPath::open(listeners, drivers.len(), buffer);
        let paths = paths.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => TransmitError::NotPermitted,
            _ => TransmitError::System(error),
        })?;
        for (driver, path) in drivers.iter_mut().zip(paths) {
            driver.packet = Some(path);
        }
        Ok(())
    }

    /// Wakes the thread that waits in this driver.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// To be called before the queues of other threads are checked. Acknowledges the wakings so far.
    pub fn note_wakings(&self) {
        self.waker.wake_flag().acknowledge();
    }

    /// Waits until there is something to receive, until something may be sent (if `to_send`), until it is woken or
    /// until `timeout` has passed. Does not wait when it was woken since [`note_wakings`](Self::note_wakings).
    pub fn wait(&mut self, timeout: Duration, to_send: bool) -> io::Result<()> {
        if !self.waker.wake_flag().begin_wait() {
            return Ok(());
        }
        let mut events = libc::POLLIN;
        if to_send {
            events |= libc::POLLOUT;
        }
        let poll = |fd, events| libc::pollfd {
            fd,
            events,
            revents: 0,
        };
        let mut polled = ArrayVec::<_, { MAX_LISTEN + 1 }>::new();
        polled.push(poll(self.wake.as_raw_fd(), libc::POLLIN));
        let sockets = self.listeners.iter();
        polled.extend(sockets.map(|listener| poll(listener.socket.as_raw_fd(), events)));
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // SAFETY: `polled` is a live array of that length, its descriptors are open as long as `self`, and a null
        // signal mask leaves the thread's own.
        let ready = unsafe {
            libc::ppoll(
                polled.as_mut_ptr(),
                polled.len() as libc::nfds_t,
                &raw const timeout,
                std::ptr::null(),
            )
        };
        if ready < 0 {
            return ignore_interrupt(io::Error::last_os_error());
        }
        for (listener, polled) in self.listeners.iter_mut().zip(&polled[1..]) {
            // An error on a socket is taken off it by reading.
            listener.may_have = polled.revents & !libc::POLLOUT != 0;
        }
        if polled[0].revents != 0 {
            let mut count = 0u64;
            // SAFETY: reads 8 bytes into a u64. That there is nothing to read any more is no error here.
            unsafe { libc::read(self.wake.as_raw_fd(), (&raw mut count).cast(), 8) };
        }
        Ok(())
    }

    /// Receives from one of the sockets into the buffers that are left.
    fn receive_from(&mut self, at: usize, received: &mut Vec<Box<Packet>>) -> io::Result<()> {
        for ((packet, slot), header) in self
            .filling
            .iter_mut()
            .zip(&mut self.receive)
            .zip(&mut self.receive_headers)
        {
            slot.piece = libc::iovec {
                iov_base: packet.data.as_mut_ptr().cast(),
                iov_len: packet.data.len(),
            };
            header.msg_hdr.msg_name = (&raw mut slot.name).cast();
            header.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_in6>() as u32;
            header.msg_hdr.msg_iov = &raw mut slot.piece;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = slot.control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL_LEN;
        }
        // SAFETY: the first `filling.len()` headers point at live slots and buffers, set just above; nothing else
        // touches them during the call.
        let count = unsafe {
            libc::recvmmsg(
                self.listeners[at].socket.as_raw_fd(),
                self.receive_headers.as_mut_ptr(),
                self.filling.len() as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::WouldBlock {
                return Ok(());
            }
            return ignore_interrupt(error);
        }
        let now = wall_clock();
        let count = (count as usize).min(self.filling.len());
        let filled = self.filling.drain(..count);
        for ((mut packet, slot), header) in filled.zip(&self.receive).zip(&self.receive_headers) {
            let info = read_control(&header.msg_hdr);
            packet.filled(Received {
                len: header.msg_len as usize,
                from: FourTuple {
                    remote: read_name(&slot.name),
                    local: at as u8,
                },
                at: info.received,
                waited: info.received.until(now).unwrap_or_default(),
            });
            if let Some(dropped) = info.dropped {
                let before = mem::replace(&mut self.listeners[at].dropped, dropped);
                self.kernel_drops += u64::from(dropped.wrapping_sub(before));
            }
            received.push(packet);
        }
        Ok(())
    }
}

impl Transport for UdpDriver {
    fn receive(
        &mut self,
        pool: &mut PacketPool,
        received: &mut Vec<Box<Packet>>,
    ) -> io::Result<()> {
        if let Some(packet) = &mut self.packet {
            packet.routes().begin_round(Instant::now());
        }
        while self.filling.len() < self.batch
            && let Some(packet) = pool.take()
        {
            self.filling.push(packet);
        }
        for _ in 0..self.listeners.len() {
            if self.filling.is_empty() {
                break;
            }
            self.turn = (self.turn + 1) % self.listeners.len();
            if mem::replace(&mut self.listeners[self.turn].may_have, true) {
                self.receive_from(self.turn, received)?;
            }
        }
        Ok(())
    }

    fn take_kernel_drops(&mut self) -> u64 {
        mem::take(&mut self.kernel_drops)
    }

    fn take_sent_by_packet(&mut self) -> u64 {
        self.outbox.take_sent_by_packet()
    }

    fn elapsed(&self, received: KernelTime) -> Option<Duration> {
        received.until(wall_clock())
    }

    fn send(&mut self, chunk: &[Outgoing<'_>]) -> SendStatus {
        self.outbox
            .send(chunk, &self.listeners, self.packet.as_mut())
    }

    fn reply(&mut self, reply: &Outgoing<'_>) -> SendStatus {
        let chunk = slice::from_ref(reply);
        self.outbox.send(chunk, &self.listeners, None)
    }
}

/// Ends the wait of the thread that polls this event counter, or its next wait.
fn end_wait(wake: &OwnedFd) {
    let one = 1u64;
    // SAFETY: writes 8 bytes of a u64. It fails only when the counter is full, and then the driver wakes anyway.
    unsafe { libc::write(wake.as_raw_fd(), (&raw const one).cast(), 8) };
}

const EMPTY_PIECE: libc::iovec = libc::iovec {
    iov_base: std::ptr::null_mut(),
    iov_len: 0,
};

fn zeroed_header() -> libc::mmsghdr {
    // SAFETY: integers and pointers, for which zero is a value.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn ignore_interrupt(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}
