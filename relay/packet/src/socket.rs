//! The packet socket.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, Socket, Type};

use crate::route::Route;

/// A socket that sends frames by any interface, and receives none.
pub(super) struct PacketSocket(Socket);

impl PacketSocket {
    /// Needs `CAP_NET_RAW`. `buffer` is asked for as send buffer, in bytes; the system may give less.
    pub(super) fn open(buffer: usize) -> io::Result<Self> {
        // Of no protocol, and never bound to one: with IPv4's, the kernel would copy every packet of the host to it.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        socket.set_send_buffer_size(buffer)?;
        // Frames go to the device at once, not through the queue that traffic control keeps for it.
        bypass_queue(&socket)?;
        Ok(Self(socket))
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Has the kernel send by the device at once.
#[allow(unsafe_code, reason = "the option has no safe interface")]
fn bypass_queue(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option takes an int, which is alive during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_QDISC_BYPASS,
            (&raw const on).cast(),
            mem::size_of_val(&on) as u32,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The address of a frame for the kernel: its interface and protocol.
pub fn device_name(route: &Route) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: route.headers.ethertype().to_be(),
        sll_ifindex: route.interface,
        ..NO_DEVICE
    }
}

/// An empty address.
pub const NO_DEVICE: libc::sockaddr_ll = libc::sockaddr_ll {
    sll_family: 0,
    sll_protocol: 0,
    sll_ifindex: 0,
    sll_hatype: 0,
    sll_pkttype: 0,
    sll_halen: 0,
    sll_addr: [0; 8],
};

/// Bytes of such an address.
pub const DEVICE_NAME_LEN: u32 = mem::size_of::<libc::sockaddr_ll>() as u32;
