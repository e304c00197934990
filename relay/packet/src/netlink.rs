//! Routes, interfaces and neighbours by netlink, and their changes.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::frame::{MAX_OVERHEAD, Mac};

/// Room for one message of the kernel; one on an interface with many virtual functions is the longest.
const BUFFER_LEN: usize = 64 << 10;
/// Receive buffer for notifications, in bytes.
const CHANGES_BUFFER_LEN: usize = 1 << 20;
/// The smallest MTU of an interface or route over which the largest datagram is not fragmented.
const LEAST_MTU: u32 = (confab_protocol::media::MAX_DATAGRAM + MAX_OVERHEAD) as u32;
/// UDP, among IP's protocols.
const UDP: u8 = libc::IPPROTO_UDP as u8;

/// Changes that a route depends on.
const GROUPS: [libc::c_uint; 8] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV6_RULE,
];

/// The first step to a remote address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hop {
    /// The index of the interface.
    pub(crate) interface: u32,
    /// The IP address of the next hop.
    pub(crate) next: IpAddr,
    /// The source address of the datagrams.
    pub(crate) source: IpAddr,
}

/// A change that may make a route wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NetworkChange {
    /// A route, a rule or an address of this host.
    Routes,
    /// The link address of an interface, by index; `None`: not fit for frames, or gone.
    Interface(u32, Option<Mac>),
    /// A neighbour's link address, by interface and address; `None`: not known, or not any more.
    Neighbour((u32, IpAddr), Option<Mac>),
}

/// Looks up routes, interfaces and neighbours.
pub(crate) struct Kernel {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Kernel {
    /// Of the network namespace of this thread.
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: Vec::with_capacity(BUFFER_LEN),
        })
    }

    /// The first hop of a datagram from the UDP socket that is bound to `source` and `port`, or to any address.
    /// `None` if a frame cannot take the same way.
    pub(crate) fn route(
        &mut self,
        remote: IpAddr,
        source: Option<IpAddr>,
        port: u16,
    ) -> io::Result<Option<Hop>> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(remote);
        message.header.destination_prefix_length = prefix_len(remote);
        message.attributes = vec![
            RouteAttribute::Destination(remote.into()),
            RouteAttribute::IpProto(UDP),
            RouteAttribute::Sport(port),
        ];
        if let Some(source) = source {
            message.header.source_prefix_length = prefix_len(source);
            message
                .attributes
                .push(RouteAttribute::Source(source.into()));
        }
        let answer = self.ask(RouteNetlinkMessage::GetRoute(message))?;
        let Some(RouteNetlinkMessage::NewRoute(route)) = answer else {
            return Ok(None);
        };
        Ok(hop_of(&route, remote, source))
    }

    /// An interface's own link address; `None` when it is not fit for frames.
    pub(crate) fn interface(&mut self, index: u32) -> io::Result<Option<Mac>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let answer = self.ask(RouteNetlinkMessage::GetLink(message))?;
        let Some(RouteNetlinkMessage::NewLink(link)) = answer else {
            return Ok(None);
        };
        Ok(own_mac(&link))
    }

    /// A neighbour's link address, if the kernel knows one that it would send to. Needs Linux 5.0.
    pub(crate) fn neighbour(
        &mut self,
        (interface, address): (u32, IpAddr),
    ) -> io::Result<Option<Mac>> {
        let mut message = NeighbourMessage::default();
        message.header.family = family(address);
        message.header.ifindex = interface;
        message.attributes = vec![NeighbourAttribute::Destination(address.into())];
        let answer = self.ask(RouteNetlinkMessage::GetNeighbour(message))?;
        let Some(RouteNetlinkMessage::NewNeighbour(neighbour)) = answer else {
            return Ok(None);
        };
        Ok(next_mac(&neighbour))
    }

    /// Sends a request; `None` if the kernel refuses it, as for an entry that does not exist.
    fn ask(&mut self, question: RouteNetlinkMessage) -> io::Result<Option<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            self.buffer.clear();
            // The kernel has answered before the call above returns; there is nothing to wait for.
            self.socket.recv(&mut self.buffer, libc::MSG_DONTWAIT)?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&self.buffer);
            match answer {
                // Of a question before, whose answer was given up.
                Ok(answer) if answer.header.sequence_number != self.sequence => {}
                Ok(answer) => {
                    return Ok(match answer.payload {
                        NetlinkPayload::InnerMessage(answer) => Some(answer),
                        _ => None,
                    });
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}

/// Receives the kernel's notifications of changes.
pub(crate) struct ChangeListener {
    socket: Socket,
    buffer: Vec<u8>,
}

impl ChangeListener {
    /// Of the network namespace of this thread.
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_rx_buf_sz(CHANGES_BUFFER_LEN as libc::c_int)?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(BUFFER_LEN),
        })
    }

    /// Reads notifications without waiting, and passes on those that may matter. False if there are no more.
    ///
    /// # Errors
    ///
    /// If the kernel had more notifications than the buffer had room for: then anything may have changed.
    pub(crate) fn read_changes(&mut self, mut tell: impl FnMut(NetworkChange)) -> io::Result<bool> {
        self.buffer.clear();
        match self.socket.recv(&mut self.buffer, libc::MSG_DONTWAIT) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        let mut rest = self.buffer.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest);
            let message = message.map_err(io::Error::other)?;
            let len = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(len..).unwrap_or_default();
            if let NetlinkPayload::InnerMessage(message) = &message.payload
                && let Some(change) = change_in(message)
            {
                tell(change);
            }
        }
        Ok(true)
    }
}

impl AsFd for ChangeListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The change that a notification reports, if it may matter.
fn change_in(message: &RouteNetlinkMessage) -> Option<NetworkChange> {
    match message {
        RouteNetlinkMessage::NewLink(link) => {
            Some(NetworkChange::Interface(link.header.index, own_mac(link)))
        }
        RouteNetlinkMessage::DelLink(link) => {
            Some(NetworkChange::Interface(link.header.index, None))
        }
        RouteNetlinkMessage::NewNeighbour(neighbour) => Some(NetworkChange::Neighbour(
            key(neighbour)?,
            next_mac(neighbour),
        )),
        RouteNetlinkMessage::DelNeighbour(neighbour) => {
            Some(NetworkChange::Neighbour(key(neighbour)?, None))
        }
        RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
            // The kernel's own copies of routes change with those that they are copies of.
            let is_copy = route.header.flags.contains(RouteFlags::Cloned);
            (!is_copy).then_some(NetworkChange::Routes)
        }
        RouteNetlinkMessage::NewAddress(_)
        | RouteNetlinkMessage::DelAddress(_)
        | RouteNetlinkMessage::NewRule(_)
        | RouteNetlinkMessage::DelRule(_) => Some(NetworkChange::Routes),
        _ => None,
    }
}

/// The first hop of a unicast route without encapsulation and with a sufficient MTU.
fn hop_of(route: &RouteMessage, remote: IpAddr, source: Option<IpAddr>) -> Option<Hop> {
    if route.header.kind != RouteType::Unicast {
        return None;
    }
    let (mut interface, mut next, mut source) = (None, remote, source);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => next = (*gateway).into(),
            RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) => next = (*gateway).into(),
            RouteAttribute::Via(RouteVia::Inet(gateway)) => next = (*gateway).into(),
            RouteAttribute::Via(RouteVia::Inet6(gateway)) => next = (*gateway).into(),
            RouteAttribute::PrefSource(RouteAddress::Inet(address)) => {
                source.get_or_insert((*address).into());
            }
            RouteAttribute::PrefSource(RouteAddress::Inet6(address)) => {
                source.get_or_insert((*address).into());
            }
            RouteAttribute::Metrics(metrics) => {
                let is_narrow = |metric: &RouteMetric| matches!(metric, RouteMetric::Mtu(mtu) if (1..LEAST_MTU).contains(mtu));
                if metrics.iter().any(is_narrow) {
                    return None;
                }
            }
            // The datagram would go into another one.
            RouteAttribute::Encap(_) | RouteAttribute::EncapType(_) => return None,
            _ => {}
        }
    }
    Some(Hop {
        interface: interface?,
        next,
        source: source?,
    })
}

/// The link address of an interface that takes frames: Ethernet that is up and wide enough.
fn own_mac(link: &LinkMessage) -> Option<Mac> {
    let is_fit = link.header.link_layer_type == LinkLayerType::Ether
        && link
            .header
            .flags
            .contains(LinkFlags::Up | LinkFlags::LowerUp);
    let (mut own, mut is_wide) = (None, false);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Address(address) => own = address.as_slice().try_into().ok(),
            LinkAttribute::Mtu(mtu) => is_wide = *mtu >= LEAST_MTU,
            _ => {}
        }
    }
    own.filter(|_| is_fit && is_wide)
}

/// The link address of a neighbour, if it is one that the kernel would send to now.
fn next_mac(neighbour: &NeighbourMessage) -> Option<Mac> {
    let is_valid = matches!(
        neighbour.header.state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp
    );
    let mut attributes = neighbour.attributes.iter();
    let next = attributes.find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(address) => address.as_slice().try_into().ok(),
        _ => None,
    });
    next.filter(|_| is_valid)
}

/// The interface and address of a neighbour message.
fn key(neighbour: &NeighbourMessage) -> Option<(u32, IpAddr)> {
    let mut attributes = neighbour.attributes.iter();
    let address = attributes.find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some((*address).into()),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
            Some((*address).into())
        }
        _ => None,
    })?;
    Some((neighbour.header.ifindex, address))
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn prefix_len(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}
