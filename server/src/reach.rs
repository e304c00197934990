//! The addresses by which clients may reach this machine.

use std::time::Duration;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses that a relay may tell.
const MOST: usize = 8;

/// Time for each name.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// Addresses of other networks, for which the system has to choose one of its own. Nothing is sent there: they are for
/// documentation (RFC 5737, RFC 3849).
const ELSEWHERE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// By which a socket that listens on `listen` can be reached: that address, or, for a wildcard, those of `names`, this machine's on its
/// networks, and the loopback for clients on this machine. Clients try all at once.
pub(crate) async fn addresses(listen: SocketAddr, names: &[String]) -> Vec<SocketAddr> {
    if !listen.ip().is_unspecified() {
        return vec![listen];
    }
    let port = listen.port();
    let mut all = Vec::new();
    for name in names {
        // A name that nobody knows yet, or a name server that does not answer, is no reason not to serve the others.
        let looking = tokio::net::lookup_host((name.as_str(), port));
        if let Ok(Ok(found)) = tokio::time::timeout(LOOKUP_TIMEOUT, looking).await {
            all.extend(found);
        }
    }
    let own = ELSEWHERE.into_iter().filter_map(towards);
    let loopbacks = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    all.extend(own.chain(loopbacks).map(|ip| SocketAddr::new(ip, port)));
    all.retain(|address| address.is_ipv4() || listen.is_ipv6());
    let mut told = Vec::new();
    for address in all {
        if !told.contains(&address) && told.len() < MOST {
            told.push(address);
        }
    }
    told
}

/// The address by which others reach a server that listens on `listen`, as far as this machine knows.
pub(crate) fn own_address(listen: SocketAddr) -> IpAddr {
    if !listen.ip().is_unspecified() {
        return listen.ip();
    }
    ELSEWHERE
        .into_iter()
        .find_map(towards)
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// True if hosts of other networks can reach the address: it is not of a private network (RFC 1918, RFC 4193), of a provider's own one (RFC
/// 6598), of a link, or of this machine.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let is_shared = first == 100 && second & 0xc0 == 64;
            let is_own = ip.is_loopback() || ip.is_unspecified();
            !(ip.is_private() || ip.is_link_local() || is_shared || is_own)
        }
        IpAddr::V6(ip) => {
            let is_own = ip.is_loopback() || ip.is_unspecified();
            !(ip.is_unique_local() || ip.is_unicast_link_local() || is_own)
        }
    }
}

/// The addresses of a relay that is mapped at a router: the one outside first, for it is what clients elsewhere need.
pub(crate) fn with_external(external: Option<SocketAddr>, own: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut told: Vec<SocketAddr> = external.into_iter().collect();
    let others = own.iter().filter(|own| Some(**own) != external);
    told.extend(others.take(MOST - told.len()));
    told
}

/// This machine's address on the way to another one; `None` if there is no way.
pub(crate) fn towards(other: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match other {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((other, 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_home_networks_and_of_providers_are_not_public() {
        for (ip, expected) in [
            ("192.168.1.7", false),
            ("10.1.2.3", false),
            ("172.31.0.1", false),
            ("172.32.0.1", true),
            ("100.64.0.1", false),
            ("100.127.255.254", false),
            ("100.128.0.1", true),
            ("169.254.9.9", false),
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("203.0.113.9", true),
            ("fd12::1", false),
            ("fe80::1", false),
            ("::1", false),
            ("::ffff:192.168.1.7", false),
            ("2001:db8::1", true),
        ] {
            let ip: IpAddr = ip.parse().unwrap_or_else(|_| unreachable!());
            assert_eq!(is_public(ip), expected, "{ip}");
        }
    }

    #[test]
    fn the_external_address_is_told_first_and_once() {
        let port = |port| SocketAddr::from(([192, 0, 2, 1], port));
        let own: Vec<SocketAddr> = (1..=9).map(port).collect();
        assert_eq!(with_external(None, &own), own[..MOST]);
        let told = with_external(Some(port(99)), &own);
        assert_eq!((told.len(), told[0], told[1]), (MOST, port(99), port(1)));
        assert_eq!(with_external(Some(port(2)), &own[..2]), [port(2), port(1)]);
    }

    #[tokio::test]
    async fn an_address_is_told_as_it_is_and_a_wildcard_by_what_it_stands_for() {
        let one: SocketAddr = "192.0.2.7:4434".parse().unwrap_or_else(|_| unreachable!());
        assert_eq!(addresses(one, &["localhost".into()]).await, [one]);
        let any = SocketAddr::from(([0, 0, 0, 0], 4434));
        let told = addresses(any, &["localhost".into(), "no-such-name.invalid".into()]).await;
        assert!(told.contains(&SocketAddr::from(([127, 0, 0, 1], 4434))));
        assert!(told.iter().all(SocketAddr::is_ipv4), "{told:?}");
        let mut once = told.clone();
        once.dedup();
        assert_eq!(once, told);
    }
}
