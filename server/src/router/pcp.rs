//! PCP (RFC 6887): its messages as bytes.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::nat_pmp::{Granted, RESPONSE};

const VERSION: u8 = 2;
const ANNOUNCE: u8 = 0;
const MAP: u8 = 1;
/// The number of UDP among IP's protocols.
const UDP: u8 = 17;
/// Bytes of each header (§7.1, §7.2).
const HEADER: usize = 24;
/// The result code of a router that does not speak this version.
const UNSUPPORTED_VERSION: u8 = 1;
/// The meaning of a router's result codes, from code 1 on (§7.4).
const RESULTS: [&str; 13] = [
    "it speaks another version",
    "port mapping is switched off, or refused to this machine",
    "it finds the request malformed",
    "it does not know the request",
    "it does not know an option",
    "it finds an option malformed",
    "it has no address of its own yet",
    "it has no more mappings to give",
    "it does not map UDP",
    "this machine has too many mappings",
    "it cannot give the port asked for",
    "another NAT is between it and this machine",
    "it has too many peers",
];

/// Names a mapping: only its holder changes it (§11.1).
pub(super) type Nonce = [u8; 12];

/// Asks whether the router speaks PCP (§14.1).
pub(super) fn announce_request(client: Ipv4Addr) -> Vec<u8> {
    header(ANNOUNCE, 0, client)
}

/// Asks for a mapping of a UDP port for `seconds`; zero removes it (§11.1, §15).
pub(super) fn map_request(
    client: Ipv4Addr,
    nonce: &Nonce,
    internal: u16,
    external: u16,
    seconds: u32,
) -> Vec<u8> {
    let mut bytes = header(MAP, seconds, client);
    bytes.extend(nonce);
    bytes.extend([UDP, 0, 0, 0]);
    bytes.extend(internal.to_be_bytes());
    bytes.extend(external.to_be_bytes());
    // Any IPv4 address.
    bytes.extend(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets());
    bytes
}

/// True if these bytes are from a router that speaks PCP; `None` for bytes that are no response.
pub(super) fn speaks(bytes: &[u8]) -> Option<bool> {
    let [version, answered, _, result] = *bytes.first_chunk::<4>()?;
    (answered & RESPONSE != 0).then_some(version == VERSION && result != UNSUPPORTED_VERSION)
}

/// The mapping of this nonce and its external address, or why there is none; `None` for bytes that do not answer [`map_request`].
pub(super) fn mapping(
    bytes: &[u8],
    nonce: &Nonce,
    internal: u16,
) -> Option<Result<(Ipv4Addr, Granted), String>> {
    let [version, answered, _, result] = *bytes.first_chunk::<4>()?;
    if answered != RESPONSE | MAP {
        return None;
    }
    if version != VERSION {
        return Some(Err(RESULTS[0].to_owned()));
    }
    if result != 0 {
        let text = RESULTS.get(usize::from(result) - 1);
        let unknown = || format!("result code {result}");
        return Some(Err(text.map_or_else(unknown, |text| (*text).to_owned())));
    }
    let seconds = u32::from_be_bytes(*bytes.get(4..)?.first_chunk()?);
    let rest = bytes.get(HEADER..)?.strip_prefix(nonce)?;
    let [protocol, _, _, _, i0, i1, e0, e1] = *rest.first_chunk::<8>()?;
    let address = Ipv6Addr::from(*rest.get(8..)?.first_chunk::<16>()?).to_ipv4_mapped()?;
    let granted = Granted {
        external: u16::from_be_bytes([e0, e1]),
        seconds,
    };
    let is_it = protocol == UDP && u16::from_be_bytes([i0, i1]) == internal;
    is_it.then_some(Ok((address, granted)))
}

fn header(opcode: u8, seconds: u32, client: Ipv4Addr) -> Vec<u8> {
    let mut bytes = vec![VERSION, opcode, 0, 0];
    bytes.extend(seconds.to_be_bytes());
    bytes.extend(client.to_ipv6_mapped().octets());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 7);
    const NONCE: Nonce = *b"twelve bytes";

    /// A response that grants what this request asks for, for half the time.
    fn granted(request: &[u8]) -> Vec<u8> {
        let mut bytes = vec![2, 129, 0, 0, 0, 0, 2, 0x58, 0, 0, 0, 9];
        bytes.extend([0; 12]);
        bytes.extend(&request[HEADER..HEADER + 20]);
        bytes.extend(Ipv4Addr::new(203, 0, 113, 9).to_ipv6_mapped().octets());
        bytes
    }

    #[test]
    fn requests_have_the_layout_of_the_rfc() {
        let request = map_request(CLIENT, &NONCE, 4433, 4434, 1200);
        assert_eq!(request.len(), 60);
        assert_eq!(request[..8], [2, 1, 0, 0, 0, 0, 4, 0xb0]);
        assert_eq!(request[8..24], CLIENT.to_ipv6_mapped().octets());
        assert_eq!(request[24..36], NONCE);
        assert_eq!(request[36..44], [17, 0, 0, 0, 0x11, 0x51, 0x11, 0x52]);
        assert_eq!(announce_request(CLIENT)[..8], [2, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn responses_are_read_and_other_bytes_are_ignored() {
        let response = granted(&map_request(CLIENT, &NONCE, 4433, 4434, 1200));
        let expected = Granted {
            external: 4434,
            seconds: 600,
        };
        let address = Ipv4Addr::new(203, 0, 113, 9);
        assert_eq!(
            mapping(&response, &NONCE, 4433),
            Some(Ok((address, expected)))
        );
        assert_eq!(mapping(&response, &[0; 12], 4433), None, "of another nonce");
        assert_eq!(mapping(&response, &NONCE, 4434), None, "of another port");
        for length in 0..response.len() {
            assert_eq!(mapping(&response[..length], &NONCE, 4433), None, "{length}");
        }
    }

    #[test]
    fn a_router_that_speaks_nat_pmp_alone_is_told_apart() {
        assert_eq!(speaks(&[2, 128, 0, 0]), Some(true));
        assert_eq!(speaks(&[2, 128, 0, 4]), Some(true), "no announcements");
        assert_eq!(speaks(&[0, 128, 0, 1]), Some(false));
        assert_eq!(speaks(&[2, 0, 0, 0]), None);
        let refused = mapping(&[2, 129, 0, 2], &NONCE, 4433);
        assert!(refused.is_some_and(|said| said.is_err_and(|said| said.contains("refused"))));
    }
}
