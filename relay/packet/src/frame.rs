//! The headers of an Ethernet frame around a UDP datagram, from bytes to bytes.
//!
//! | bytes, IPv4 | bytes, IPv6 | header |
//! |---|---|---|
//! | 0..14 | 0..14 | Ethernet: next hop, own address, type |
//! | 14..34 | 14..54 | IPv4 (RFC 791), no options; IPv6 (RFC 8200) |
//! | 34..42 | 54..62 | UDP (RFC 768) |
//!
//! Fields that all datagrams of a route share are laid out, and summed, once for the route.

use std::net::{IpAddr, SocketAddr};

use confab_protocol::media::downlink::HEADER_LEN;

use super::checksum::Sum;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Bytes of the longest headers of a frame, and of the downlink header that follows them: what a receiver is sent for
/// itself alone.
pub const MAX_HEAD: usize = ETHERNET_LEN + IPV6_LEN + UDP_LEN + HEADER_LEN;

/// Bytes of a frame before its UDP payload that count towards an interface's MTU, at most.
pub(crate) const MAX_OVERHEAD: usize = IPV6_LEN + UDP_LEN;

const ETHERNET_LEN: usize = 14;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const UDP_LEN: usize = 8;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// UDP, among IP's protocols.
const PROTOCOL: u8 = 17;
/// Linux's own default, for both.
const HOP_LIMIT: u8 = 64;

/// The headers of every datagram from one of the relay's addresses to one remote address, laid out but for what differs
/// from one to the next: the remote port, lengths and checksums.
#[derive(Clone, Copy, Debug)]
pub struct Headers {
    bytes: [u8; ETHERNET_LEN + IPV6_LEN + UDP_LEN],
    is_ipv6: bool,
    /// Of the IPv4 header, without its length.
    ip_sum: Sum,
    /// Of UDP's pseudo-header and header, without lengths and the remote port.
    udp_sum: Sum,
}

impl Headers {
    /// From `own` by way of `next_hop`. `None` if the addresses are not of one family.
    pub fn new(own: Mac, next_hop: Mac, source: SocketAddr, remote: IpAddr) -> Option<Self> {
        let mut bytes = [0; ETHERNET_LEN + IPV6_LEN + UDP_LEN];
        bytes[..6].copy_from_slice(&next_hop);
        bytes[6..12].copy_from_slice(&own);
        let (ethernet, rest) = bytes.split_at_mut(ETHERNET_LEN);
        let (ethertype, ip_len, addresses) = match (source.ip(), remote) {
            (IpAddr::V4(source), IpAddr::V4(remote)) => {
                let ip = &mut rest[..IPV4_LEN];
                // Version 4, five words long.
                ip[0] = 0x45;
                // Not to be fragmented; an id of zero then says as much as any other (RFC 6864 §4.1).
                ip[6] = 0x40;
                ip[8] = HOP_LIMIT;
                ip[9] = PROTOCOL;
                ip[12..16].copy_from_slice(&source.octets());
                ip[16..20].copy_from_slice(&remote.octets());
                (ETHERTYPE_IPV4, IPV4_LEN, 12..20)
            }
            (IpAddr::V6(source), IpAddr::V6(remote)) => {
                let ip = &mut rest[..IPV6_LEN];
                // Version 6; no traffic class, no flow label.
                ip[0] = 0x60;
                ip[6] = PROTOCOL;
                ip[7] = HOP_LIMIT;
                ip[8..24].copy_from_slice(&source.octets());
                ip[24..40].copy_from_slice(&remote.octets());
                (ETHERTYPE_IPV6, IPV6_LEN, 8..40)
            }
            _ => return None,
        };
        ethernet[12..].copy_from_slice(&ethertype.to_be_bytes());
        rest[ip_len..ip_len + 2].copy_from_slice(&source.port().to_be_bytes());
        let udp_sum = Sum::of(&rest[addresses])
            .and(Sum::of_u16(PROTOCOL.into()))
            .and(Sum::of_u16(source.port()));
        Some(Self {
            ip_sum: Sum::of(&rest[..ip_len]),
            udp_sum,
            is_ipv6: ip_len == IPV6_LEN,
            bytes,
        })
    }

    /// The Ethernet type of the frames.
    pub fn ethertype(&self) -> u16 {
        match self.is_ipv6 {
            true => ETHERTYPE_IPV6,
            false => ETHERTYPE_IPV4,
        }
    }

    /// Writes what comes before a datagram's body into `out`: these headers, for the remote `port`, and the datagram's own
    /// `head`. Gives its length in bytes. `body_sum` is of the `body_len` bytes that follow.
    pub fn write(
        &self,
        port: u16,
        head: &[u8; HEADER_LEN],
        body_len: usize,
        body_sum: Sum,
        out: &mut [u8; MAX_HEAD],
    ) -> usize {
        out[..self.bytes.len()].copy_from_slice(&self.bytes);
        // A datagram is 1200 bytes long at most.
        let udp_len = (UDP_LEN + HEADER_LEN + body_len) as u16;
        let udp_at = match self.is_ipv6 {
            true => {
                out[18..20].copy_from_slice(&udp_len.to_be_bytes());
                ETHERNET_LEN + IPV6_LEN
            }
            false => {
                let ip_len = IPV4_LEN as u16 + udp_len;
                out[16..18].copy_from_slice(&ip_len.to_be_bytes());
                let checksum = self.ip_sum.and(Sum::of_u16(ip_len)).checksum();
                out[24..26].copy_from_slice(&checksum);
                ETHERNET_LEN + IPV4_LEN
            }
        };
        // The length is summed twice: the pseudo-header has it too (RFC 768; RFC 8200 §8.1).
        let length_sum = Sum::of_u16(udp_len);
        let udp_sum = self.udp_sum.and(length_sum).and(length_sum);
        let udp_sum = udp_sum.and(Sum::of_u16(port));
        let checksum = udp_sum.and(Sum::of(head)).and(body_sum).udp_checksum();
        let udp = &mut out[udp_at..udp_at + UDP_LEN + HEADER_LEN];
        udp[2..4].copy_from_slice(&port.to_be_bytes());
        udp[4..6].copy_from_slice(&udp_len.to_be_bytes());
        udp[6..8].copy_from_slice(&checksum);
        udp[UDP_LEN..].copy_from_slice(head);
        udp_at + UDP_LEN + HEADER_LEN
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    const OWN: Mac = [2, 0, 0, 0, 0, 1];
    const NEXT_HOP: Mac = [2, 0, 0, 0, 0, 2];

    /// Sums as a receiver does: over everything, the checksum too, which has to give all ones. Without the code above.
    fn adds_up(parts: &[&[u8]]) -> bool {
        let bytes = parts.concat();
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
        }
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum == 0xffff
    }

    fn frame(source: SocketAddr, remote: SocketAddr, head: &[u8; 14], body: &[u8]) -> Vec<u8> {
        let headers = Headers::new(OWN, NEXT_HOP, source, remote.ip()).expect("one family");
        let mut out = [0xee; MAX_HEAD];
        let len = headers.write(remote.port(), head, body.len(), Sum::of(body), &mut out);
        [&out[..len], body].concat()
    }

    fn check_ethernet(frame: &[u8], ethertype: [u8; 2]) {
        assert_eq!(frame[..6], NEXT_HOP);
        assert_eq!(frame[6..12], OWN);
        assert_eq!(frame[12..14], ethertype);
    }

    fn check_udp(udp: &[u8], source: u16, remote: u16, payload: &[u8]) {
        assert_eq!(udp[..2], source.to_be_bytes());
        assert_eq!(udp[2..4], remote.to_be_bytes());
        assert_eq!(udp[4..6], (udp.len() as u16).to_be_bytes());
        assert_ne!(udp[6..8], [0, 0], "zero says that there is no checksum");
        assert_eq!(&udp[8..], payload);
    }

    proptest! {
        #[test]
        fn ipv4(
            source in any::<[u8; 4]>(), remote in any::<[u8; 4]>(), ports in any::<(u16, u16)>(),
            head in any::<[u8; 14]>(), body in prop::collection::vec(any::<u8>(), 0..1187),
        ) {
            let (from, to) = (Ipv4Addr::from(source), Ipv4Addr::from(remote));
            let frame = frame((from, ports.0).into(), (to, ports.1).into(), &head, &body);
            check_ethernet(&frame, [0x08, 0x00]);
            let (ip, udp) = frame[14..].split_at(20);
            prop_assert_eq!(ip[0], 0x45);
            prop_assert_eq!(&ip[2..4], ((frame.len() - 14) as u16).to_be_bytes());
            prop_assert_eq!(&ip[4..10], [0, 0, 0x40, 0, 64, 17]);
            prop_assert_eq!(&ip[12..16], source);
            prop_assert_eq!(&ip[16..20], remote);
            prop_assert!(adds_up(&[ip]));
            check_udp(udp, ports.0, ports.1, &[&head, body.as_slice()].concat());
            prop_assert!(adds_up(&[&source, &remote, &[0, 17], &udp[4..6], udp]));
        }

        #[test]
        fn ipv6(
            source in any::<[u8; 16]>(), remote in any::<[u8; 16]>(), ports in any::<(u16, u16)>(),
            head in any::<[u8; 14]>(), body in prop::collection::vec(any::<u8>(), 0..1187),
        ) {
            let (from, to) = (Ipv6Addr::from(source), Ipv6Addr::from(remote));
            let frame = frame((from, ports.0).into(), (to, ports.1).into(), &head, &body);
            check_ethernet(&frame, [0x86, 0xdd]);
            let (ip, udp) = frame[14..].split_at(40);
            prop_assert_eq!(&ip[..4], [0x60, 0, 0, 0]);
            prop_assert_eq!(&ip[4..6], (udp.len() as u16).to_be_bytes());
            prop_assert_eq!(&ip[6..8], [17, 64]);
            prop_assert_eq!(&ip[8..24], source);
            prop_assert_eq!(&ip[24..40], remote);
            check_udp(udp, ports.0, ports.1, &[&head, body.as_slice()].concat());
            prop_assert!(adds_up(&[&source, &remote, &[0, 0], &udp[4..6], &[0, 0, 0, 17], udp]));
        }
    }

    #[test]
    fn a_checksum_of_zero_goes_out_as_all_ones() {
        let (from, to) = (Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
        let of = |body: [u8; 2]| {
            let frame = frame((from, 1).into(), (to, 2).into(), &[0; 14], &body);
            [frame[40], frame[41]]
        };
        // What makes the sum all ones is the checksum over a body of zeros.
        assert_eq!(of(of([0, 0])), [0xff, 0xff]);
    }

    #[test]
    fn addresses_of_two_families_make_no_frame() {
        let source = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        assert!(Headers::new(OWN, NEXT_HOP, source, Ipv6Addr::LOCALHOST.into()).is_none());
    }
}
