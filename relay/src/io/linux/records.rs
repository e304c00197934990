//! The records that the kernel writes and reads beside a datagram: addresses, receive time, count of drops.

use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::core::KernelTime;

/// The control data of a received datagram.
pub(super) struct ReceiveInfo {
    pub(super) received: KernelTime,
    /// All drops of the socket so far; only said once there are some.
    pub(super) dropped: Option<u32>,
}

/// Reads the control data that the kernel has written.
pub(super) fn read_control(header: &libc::msghdr) -> ReceiveInfo {
    let mut info = ReceiveInfo {
        received: KernelTime::default(),
        dropped: None,
    };
    // SAFETY: the header is one that the kernel has filled in; the macros stay inside the control buffer by its length.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = control.as_ref() {
            let data = libc::CMSG_DATA(control);
            match (message.cmsg_level, message.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let time = data.cast::<libc::timespec>().read_unaligned();
                    let seconds = time.tv_sec.unsigned_abs();
                    let nanoseconds = seconds.saturating_mul(1_000_000_000);
                    info.received =
                        KernelTime(nanoseconds.saturating_add(time.tv_nsec.unsigned_abs()));
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                    info.dropped = Some(data.cast::<u32>().read_unaligned());
                }
                _ => {}
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    info
}

/// An address that says nothing yet.
pub(super) fn zeroed_name() -> libc::sockaddr_in6 {
    // SAFETY: integers only, for which zero is a value.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Reads the address that the kernel wrote. A `sockaddr_in6` has room for a `sockaddr_in` too.
pub(super) fn read_name(name: &libc::sockaddr_in6) -> SocketAddr {
    if i32::from(name.sin6_family) == libc::AF_INET {
        // SAFETY: the family says that the kernel wrote a `sockaddr_in`, which is smaller and no more aligned.
        let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
        let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
        return SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into();
    }
    SocketAddrV6::new(
        Ipv6Addr::from(name.sin6_addr.s6_addr),
        u16::from_be(name.sin6_port),
        0,
        name.sin6_scope_id,
    )
    .into()
}

/// Writes an address for the kernel; gives its length.
pub(super) fn write_name(address: SocketAddr, name: &mut libc::sockaddr_in6) -> u32 {
    match address {
        SocketAddr::V4(address) => {
            // SAFETY: a `sockaddr_in6` has room for a `sockaddr_in`, which is no more aligned.
            let name = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in>() };
            name.sin_family = libc::AF_INET as u16;
            name.sin_port = address.port().to_be();
            name.sin_addr.s_addr = u32::from(*address.ip()).to_be();
            mem::size_of::<libc::sockaddr_in>() as u32
        }
        SocketAddr::V6(address) => {
            name.sin6_family = libc::AF_INET6 as u16;
            name.sin6_port = address.port().to_be();
            name.sin6_flowinfo = 0;
            name.sin6_addr.s6_addr = address.ip().octets();
            name.sin6_scope_id = address.scope_id();
            mem::size_of::<libc::sockaddr_in6>() as u32
        }
    }
}
