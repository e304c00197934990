//! NAT-PMP (RFC 6886): its messages as bytes.

use std::net::Ipv4Addr;

/// UDP port of a router that speaks NAT-PMP or PCP.
pub(super) const SERVER_PORT: u16 = 5351;

const VERSION: u8 = 0;
const EXTERNAL_ADDRESS: u8 = 0;
const MAP_UDP: u8 = 1;
/// Set in the second byte of each response.
pub(super) const RESPONSE: u8 = 0x80;
/// The meaning of a router's result codes, from code 1 on (§3.5).
const RESULTS: [&str; 5] = [
    "it speaks another version",
    "port mapping is switched off, or refused to this machine",
    "it has no address of its own yet",
    "it has no more mappings to give",
    "it does not know the request",
];

/// A router's grant by NAT-PMP or PCP: a port, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) external: u16,
    pub(super) seconds: u32,
}

/// Asks for the router's external address (§3.2).
pub(super) fn address_request() -> Vec<u8> {
    vec![VERSION, EXTERNAL_ADDRESS]
}

/// Asks for a mapping of a UDP port for `seconds` (§3.3). Zero for `external` and `seconds` removes it (§3.4).
pub(super) fn map_request(internal: u16, external: u16, seconds: u32) -> Vec<u8> {
    let mut bytes = vec![VERSION, MAP_UDP, 0, 0];
    bytes.extend(internal.to_be_bytes());
    bytes.extend(external.to_be_bytes());
    bytes.extend(seconds.to_be_bytes());
    bytes
}

/// The external address, or why there is none; `None` for bytes that do not answer [`address_request`].
pub(super) fn address(bytes: &[u8]) -> Option<Result<Ipv4Addr, String>> {
    Some(match body(bytes, EXTERNAL_ADDRESS)? {
        Ok(body) => Ok(Ipv4Addr::from(*body.first_chunk::<4>()?)),
        Err(said) => Err(said),
    })
}

/// The mapping of `internal`, or why there is none; `None` for bytes that do not answer [`map_request`].
pub(super) fn mapping(bytes: &[u8], internal: u16) -> Option<Result<Granted, String>> {
    let body = match body(bytes, MAP_UDP)? {
        Ok(body) => body,
        Err(said) => return Some(Err(said)),
    };
    let [i0, i1, e0, e1, s0, s1, s2, s3] = *body.first_chunk::<8>()?;
    let granted = Granted {
        external: u16::from_be_bytes([e0, e1]),
        seconds: u32::from_be_bytes([s0, s1, s2, s3]),
    };
    (u16::from_be_bytes([i0, i1]) == internal).then_some(Ok(granted))
}

/// A response's bytes after its time, or the text of its result code.
fn body(bytes: &[u8], opcode: u8) -> Option<Result<&[u8], String>> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    let [version, answered, high, low] = *head;
    if answered & RESPONSE == 0 {
        return None;
    }
    if version != VERSION {
        return Some(Err(RESULTS[0].to_owned()));
    }
    if answered != RESPONSE | opcode {
        return None;
    }
    match u16::from_be_bytes([high, low]) {
        0 => rest.get(4..).map(Ok),
        code => {
            let text = RESULTS.get(usize::from(code) - 1);
            let unknown = || format!("result code {code}");
            Some(Err(text.map_or_else(unknown, |text| (*text).to_owned())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_layout_of_the_rfc() {
        assert_eq!(address_request(), [0, 0]);
        assert_eq!(
            map_request(4433, 4434, 1200),
            [0, 1, 0, 0, 0x11, 0x51, 0x11, 0x52, 0, 0, 4, 0xb0]
        );
    }

    #[test]
    fn responses_are_read_and_other_bytes_are_ignored() {
        let told = [0, 128, 0, 0, 0, 0, 0, 9, 203, 0, 113, 9];
        assert_eq!(address(&told), Some(Ok(Ipv4Addr::new(203, 0, 113, 9))));
        let mapped = [
            0, 129, 0, 0, 0, 0, 0, 9, 0x11, 0x51, 0x11, 0x52, 0, 0, 4, 0xb0,
        ];
        let granted = Granted {
            external: 4434,
            seconds: 1200,
        };
        assert_eq!(mapping(&mapped, 4433), Some(Ok(granted)));
        assert_eq!(mapping(&mapped, 4434), None, "of another port");
        assert_eq!(address(&mapped), None, "of another request");
        assert_eq!(address(&address_request()), None, "no response");
        for length in 0..mapped.len() {
            assert_eq!(mapping(&mapped[..length], 4433), None, "{length}");
        }
    }

    #[test]
    fn a_refusal_says_why() {
        let said = |bytes: &[u8]| mapping(bytes, 4433).unwrap_or_else(|| unreachable!());
        let off = said(&[0, 129, 0, 2, 0, 0, 0, 9]);
        assert!(off.is_err_and(|said| said.contains("switched off")));
        let pcp_alone = said(&[2, 128, 0, 1, 0, 0, 0, 0]);
        assert!(pcp_alone.is_err_and(|said| said.contains("another version")));
        assert_eq!(
            said(&[0, 129, 1, 0, 0, 0, 0, 9]),
            Err("result code 256".to_owned())
        );
    }
}
