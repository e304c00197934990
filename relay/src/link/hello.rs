//! The relay's greeting to a control node.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use confab_protocol::cluster::BootId;
use confab_protocol::version;
use confab_protocol::wire;
use tokio::sync::watch;

/// The relay's greeting to a control node.
#[derive(Clone)]
pub(crate) struct Hello {
    /// Names this run of the relay.
    pub boot: BootId,
    /// The region that it serves.
    pub region: String,
    /// Addresses for clients. If empty, the listening addresses, with the address on which control is reached for a wildcard. They may
    /// change while the relay runs.
    pub public: watch::Receiver<Vec<SocketAddr>>,
    /// Listening addresses.
    pub listen: Vec<SocketAddr>,
    pub workers: u32,
    pub max_sessions: u32,
    /// A session whose client answers no challenge for this time ends.
    pub idle_timeout: Duration,
}

impl Hello {
    /// Addresses for clients, for the control node at `control`.
    pub(super) fn addresses(&self, control: SocketAddr) -> Vec<SocketAddr> {
        let mut addresses = self.public.borrow().clone();
        if addresses.is_empty() {
            for listen in &self.listen {
                addresses.extend(reached_at(*listen, control).filter(|a| !addresses.contains(a)));
            }
        }
        addresses
    }

    /// The message, with these addresses for clients.
    pub(super) fn message(&self, addresses: &[SocketAddr]) -> wire::RelayHello {
        wire::RelayHello {
            min_version: version::CONTROL.min(),
            max_version: version::CONTROL.max(),
            agent: concat!("confab-relay/", env!("CARGO_PKG_VERSION")).to_owned(),
            boot_id: Bytes::copy_from_slice(&self.boot.0),
            region: self.region.clone(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            workers: self.workers,
            max_sessions: self.max_sessions,
            min_media_version: version::MEDIA.min(),
            max_media_version: version::MEDIA.max(),
            idle_timeout_ms: u32::try_from(self.idle_timeout.as_millis()).unwrap_or(u32::MAX),
        }
    }
}

/// Any local address of the family of `control`.
pub(super) fn any_towards(control: SocketAddr) -> SocketAddr {
    if control.is_ipv6() {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    } else {
        ([0, 0, 0, 0], 0).into()
    }
}

/// The address by which clients reach a listening address: itself or, for a wildcard, the address on which this machine reaches control,
/// if it is of a family that the wildcard serves.
fn reached_at(listen: SocketAddr, control: SocketAddr) -> Option<SocketAddr> {
    if !listen.ip().is_unspecified() {
        return Some(listen);
    }
    let ip = address_towards(control)?;
    let serves = listen.is_ipv6() || ip.is_ipv4();
    serves.then(|| SocketAddr::new(ip, listen.port()))
}

/// This machine's address as `control` would see it without a NAT between. No datagram is sent for it.
fn address_towards(control: SocketAddr) -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind(any_towards(control)).ok()?;
    socket.connect(control).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
