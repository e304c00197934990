//! The network that a request comes from, for rate limits.

use std::fmt;
use std::net::IpAddr;

/// An IPv4 address or an IPv6 /64, which is what one household has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(Network);

/// Addresses with a common prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    V4([u8; 4]),
    /// IPv6 addresses with a common prefix, and the length of the prefix in bytes.
    V6([u8; 8], u8),
}

/// The IPv6 networks around a source that are limited as a whole: length of the prefix in bytes, and the multiple of a source's
/// limit. A provider assigns a site a /56 or a /48, all /64s of which one client can use.
const AROUND_V6: [(u8, u32); 3] = [(8, 1), (7, 2), (6, 8)];

impl Source {
    /// The networks that contain the source, itself first, each with the multiple of a source's limit: an IPv4 address alone; for
    /// IPv6 the /64 once, the /56 twice and the /48 eight times.
    pub fn networks(self) -> impl Iterator<Item = (Network, u32)> {
        let around = match self.0 {
            Network::V4(_) => &AROUND_V6[..1],
            Network::V6(..) => &AROUND_V6[..],
        };
        around.iter().map(move |(bytes, times)| match self.0 {
            v4 @ Network::V4(_) => (v4, *times),
            Network::V6(prefix, _) => (Network::v6(prefix, *bytes), *times),
        })
    }
}

/// Hides the address from logs.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source(…)")
    }
}

impl Network {
    fn v6(mut prefix: [u8; 8], bytes: u8) -> Self {
        for byte in &mut prefix[usize::from(bytes)..] {
            *byte = 0;
        }
        Self::V6(prefix, bytes)
    }
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => Network::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let mut prefix = [0; 8];
                prefix.copy_from_slice(&v6.octets()[..8]);
                Network::V6(prefix, 8)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::from(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn an_ipv6_source_is_its_64() {
        assert!(source("2001:db8:1:2::1") == source("2001:db8:1:2:ffff::9"));
        assert!(source("2001:db8:1:2::1") != source("2001:db8:1:3::1"));
        assert!(source("::ffff:192.0.2.1") == source("192.0.2.1"));
        assert!(source("192.0.2.1") != source("192.0.2.2"));
        // No IPv6 network equals an IPv4 address.
        assert!(source("0:0:c000:201::") != source("192.0.2.1"));
    }

    #[test]
    fn sources_share_the_networks_around_them() {
        let shared = |one: &str, other: &str| {
            let other: Vec<_> = source(other).networks().collect();
            let one = source(one).networks();
            one.filter(|network| other.contains(network))
                .map(|(_, times)| times)
                .collect::<Vec<_>>()
        };
        assert_eq!(shared("2001:db8:1:2::1", "2001:db8:1:2::2"), [1, 2, 8]);
        assert_eq!(shared("2001:db8:1:2::1", "2001:db8:1:3::1"), [2, 8]);
        assert_eq!(shared("2001:db8:1:2::1", "2001:db8:1:102::1"), [8]);
        assert_eq!(shared("2001:db8:1:2::1", "2001:db8:2:2::1"), [0; 0]);
        assert_eq!(shared("192.0.2.1", "192.0.2.1"), [1]);
        assert_eq!(shared("192.0.2.1", "192.0.2.2"), [0; 0]);
    }
}
