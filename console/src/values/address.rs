//! Addresses of sockets.

use std::net::SocketAddr;

/// Text that is no address of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// There is a port alone.
    #[error(
        "the address before the port is missing: [::]:{0} is all of this machine's, 127.0.0.1:{0} this machine alone"
    )]
    PortAlone(u16),
    /// There is an address alone.
    #[error(
        "the port is missing: give it behind the address, as 192.0.2.7:4434 or [2001:db8::7]:4434"
    )]
    NoPort,
    /// There is a name, or something else.
    #[error("give an IP address and a port, not a name, as 192.0.2.7:4434 or [2001:db8::7]:4434")]
    Form,
}

/// Reads an IP address and a port.
///
/// # Errors
///
/// The text has another form; the message says which one it should have.
pub fn socket_address(text: &str) -> Result<SocketAddr, BadAddress> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Some(port) = text.strip_prefix(':').and_then(|port| port.parse().ok()) {
        return Err(BadAddress::PortAlone(port));
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<std::net::IpAddr>() {
        Ok(_) => Err(BadAddress::NoPort),
        Err(_) => Err(BadAddress::Form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_number_and_a_port_and_what_is_missing_is_said() {
        for good in ["192.0.2.7:4434", "[2001:db8::7]:4434", "[::]:0"] {
            assert_eq!(socket_address(good), Ok(good.parse().unwrap()));
        }
        for (bad, error) in [
            (":4943", BadAddress::PortAlone(4943)),
            ("192.0.2.7", BadAddress::NoPort),
            ("2001:db8::7", BadAddress::NoPort),
            ("[::]", BadAddress::NoPort),
            ("talk.example.org:4434", BadAddress::Form),
            ("192.0.2.7:70000", BadAddress::Form),
            (":70000", BadAddress::Form),
            ("", BadAddress::Form),
        ] {
            assert_eq!(socket_address(bad), Err(error), "{bad}");
        }
        let said = BadAddress::PortAlone(4943).to_string();
        assert!(said.contains("[::]:4943"), "{said}");
    }
}
