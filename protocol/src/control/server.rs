//! Where a control node is: HOST or HOST:PORT.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// UDP port of the control plane when none is named.
pub const DEFAULT_PORT: u16 = 4433;

/// Longest host, in bytes: a name of the DNS (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;

/// A server's host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// A name or an address, in lower case.
    pub host: String,
    /// UDP port.
    pub port: u16,
}

/// Text that names no server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadServer {
    /// It does not have the form.
    #[error(
        "{0:?} is no server: give HOST or HOST:PORT, an IPv6 address with a port as [ADDRESS]:PORT"
    )]
    Form(String),
    /// The port is left out where it has to be said.
    #[error("{0:?} has no port: give HOST:PORT, an IPv6 address as [ADDRESS]:PORT")]
    NoPort(String),
}

impl Server {
    /// Reads HOST:PORT: an address that others are told says its port.
    ///
    /// # Errors
    ///
    /// The text has another form, or no port.
    pub fn with_port(text: &str) -> Result<Self, BadServer> {
        let server: Self = text.parse()?;
        match parts(text) {
            Some((_, Some(_))) => Ok(server),
            _ => Err(BadServer::NoPort(text.to_owned())),
        }
    }

    /// As a person would write it: without the port if it is the usual one.
    pub fn short(&self) -> String {
        let whole = self.to_string();
        match self.port {
            DEFAULT_PORT => whole
                .rsplit_once(':')
                .map_or(whole.clone(), |(host, _)| host.to_owned()),
            _ => whole,
        }
    }

    /// The host as an address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl FromStr for Server {
    type Err = BadServer;

    fn from_str(text: &str) -> Result<Self, BadServer> {
        let bad = || BadServer::Form(text.to_owned());
        let (host, port) = parts(text).ok_or_else(bad)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        let has_colon = host.contains(':');
        if host.is_empty()
            || host.len() > MAX_HOST
            || !host.chars().all(allowed)
            || (has_colon && host.parse::<Ipv6Addr>().is_err())
        {
            return Err(bad());
        }
        let port = match port {
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(bad)?,
            None => DEFAULT_PORT,
        };
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

impl fmt::Display for Server {
    /// `host:port`, as the files of the config directory name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Host and port as they stand in the text, the host without brackets.
fn parts(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest {
            "" => Some((host, None)),
            rest => Some((host, Some(rest.strip_prefix(':')?))),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some((text, None));
    }
    Some(match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_and_perhaps_a_port() {
        let cases = [
            ("Talk.Example.org", "talk.example.org:4433"),
            ("127.0.0.1:9000", "127.0.0.1:9000"),
            ("::1", "[::1]:4433"),
            ("[2001:db8::1]:99", "[2001:db8::1]:99"),
            ("[::1]", "[::1]:4433"),
        ];
        for (text, shown) in cases {
            let server: Server = text.parse().unwrap();
            assert_eq!(server.to_string(), shown);
            assert_eq!(shown.parse(), Ok(server.clone()));
            assert_eq!(Server::with_port(shown), Ok(server));
        }
        for text in ["::1", "[::1]", "talk.example.org"] {
            assert_eq!(
                Server::with_port(text),
                Err(BadServer::NoPort(text.to_owned()))
            );
        }
        for bad in [
            "",
            ":1",
            "a:b",
            "a:0",
            "a:70000",
            "a b",
            "[::1",
            "[::1]9",
            "a:b:c",
            "https://a",
            &"a".repeat(254),
        ] {
            assert!(bad.parse::<Server>().is_err(), "{bad:?}");
        }
    }
}
