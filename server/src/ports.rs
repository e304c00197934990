//! The lines by which an operator learns how friends elsewhere reach the server.

use std::net::{IpAddr, SocketAddr};

use crate::reach::is_public;
use crate::router::{External, Ports, State};

/// The line if `--map-ports` is given and the server listens where [`can_be_mapped`] says no.
pub(crate) const NOT_MAPPABLE: &str = "--map-ports has no effect: a router passes datagrams to the addresses 0.0.0.0 and [::] and to IPv4 addresses of this \
     machine on its network; see --listen and --relay-listen";

/// True if a router can pass datagrams to a server that listens there.
pub(crate) fn can_be_mapped(listen: SocketAddr) -> bool {
    match listen.ip().to_canonical() {
        IpAddr::V4(ip) => !ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    }
}

/// The outcome of the request for ports of the router; `own` is this machine's address.
pub(crate) fn outcome(state: &State, ports: Ports, own: IpAddr) -> String {
    let why = match state {
        State::Mapped(external) => {
            let shown = passed(external);
            return format!("the router passes UDP {shown} to this machine");
        }
        State::Asking => "it has not answered yet".to_owned(),
        State::NotMapped(refusal) => refusal.to_string(),
    };
    let failed = format!("the router did not open the ports ({why})");
    match forwarding(ports, own) {
        Some(advice) => format!("{failed}: {advice}"),
        None => failed,
    }
}

/// The ports to forward, if the router is not asked; `None` where this machine needs no router.
pub(crate) fn hint(ports: Ports, own: IpAddr) -> Option<String> {
    let advice = forwarding(ports, own).filter(|_| !is_public(own))?;
    Some(format!("{advice}; --map-ports asks the router for that"))
}

fn passed(external: &External) -> String {
    let External { control, relay } = external;
    match control.ip() == relay.ip() {
        true => format!("{control} and :{}", relay.port()),
        false => format!("{control} and {relay}"),
    }
}

/// `None` if this machine is in no network.
fn forwarding(ports: Ports, own: IpAddr) -> Option<String> {
    let Ports { control, relay } = ports;
    (!own.is_loopback()).then(|| {
        format!(
            "forward UDP ports {control} and {relay} to {own} at the router, for friends outside of your network"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use super::*;
    use crate::router::Refusal;

    const PORTS: Ports = Ports {
        control: 4433,
        relay: 4434,
    };
    const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 7));

    #[test]
    fn ports_that_are_open_are_told_by_their_addresses_outside() {
        let outside = |port| SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 9), port);
        let external = External {
            control: outside(4433),
            relay: outside(5434),
        };
        assert_eq!(
            outcome(&State::Mapped(external), PORTS, OWN),
            "the router passes UDP 203.0.113.9:4433 and :5434 to this machine"
        );
    }

    #[test]
    fn ports_that_are_not_open_are_told_with_the_reason_and_the_remedy() {
        assert_eq!(
            outcome(&State::NotMapped(Refusal::Silent), PORTS, OWN),
            "the router did not open the ports (it answers neither PCP, NAT-PMP nor UPnP): forward UDP ports 4433 and 4434 to \
             192.168.1.7 at the router, for friends outside of your network"
        );
        let behind = Refusal::Behind(Ipv4Addr::new(100, 64, 3, 4));
        let said = outcome(&State::NotMapped(behind), PORTS, OWN);
        assert!(said.contains("100.64.3.4, is not a public one"), "{said}");
    }

    #[test]
    fn a_machine_with_a_public_address_gets_no_hint() {
        let said = hint(PORTS, OWN).unwrap_or_default();
        assert!(said.contains("4433 and 4434 to 192.168.1.7"), "{said}");
        assert!(said.contains("--map-ports"), "{said}");
        assert_eq!(hint(PORTS, Ipv4Addr::new(203, 0, 113, 9).into()), None);
        assert_eq!(hint(PORTS, Ipv4Addr::LOCALHOST.into()), None, "no network");
    }

    #[test]
    fn a_server_for_this_machine_alone_cannot_be_mapped() {
        for (listen, expected) in [
            ("[::]:4433", true),
            ("0.0.0.0:4433", true),
            ("192.168.1.7:4433", true),
            ("127.0.0.1:4433", false),
            ("[::1]:4433", false),
            ("[2001:db8::1]:4433", false),
        ] {
            let listen = listen.parse().unwrap_or_else(|_| unreachable!());
            assert_eq!(can_be_mapped(listen), expected, "{listen}");
        }
    }
}
