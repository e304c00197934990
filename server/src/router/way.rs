//! The ways by which a router maps ports.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::ask::Fault;
use super::nat_pmp::Granted;
use super::pcp::Nonce;
use super::refusal::Refusal;
use super::upnp::Wish;
use super::{ask, gateway, nat_pmp, pcp, upnp};

/// Lifetime that is asked for, in seconds: a server that was killed leaves its ports open for no longer.
const LIFETIME: u32 = 20 * 60;
/// External ports that are asked for at a router by UPnP when another machine has the last one: each so much higher.
const NEXT_PORT: u16 = 1000;
/// Number of such attempts.
const ATTEMPTS: u16 = 4;
/// An address on the way to which the default route leads (RFC 5737). Nothing is sent there.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A way by which this network's router maps ports.
#[derive(Debug, Clone)]
pub(super) enum Way {
    NatPmp(Peer),
    Pcp(Peer),
    Upnp {
        service: upnp::Service,
        local: Ipv4Addr,
    },
}

/// A router that answers at the port of NAT-PMP and PCP.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    router: SocketAddrV4,
    /// This machine's address in its network.
    local: Ipv4Addr,
}

/// A port of this machine, as the router maps it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Port {
    internal: u16,
    /// The external port of the last mapping; before the first the one that is wished.
    external: u16,
    /// The router has mapped it, as far as is known.
    is_mapped: bool,
    nonce: Nonce,
}

/// A port that is mapped, and for how long in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) external: SocketAddrV4,
    pub(super) seconds: u32,
}

impl Port {
    /// The same port outside as here is wished: it is the same after each start, so links stay valid.
    pub(super) fn new(internal: u16, nonce: Nonce) -> Self {
        Self {
            internal,
            external: internal,
            is_mapped: false,
            nonce,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NatPmp(_) => "NAT-PMP",
            Self::Pcp(_) => "PCP",
            Self::Upnp { .. } => "UPnP",
        })
    }
}

/// A search for ways. NAT-PMP comes before PCP: it lets a server that was killed have its ports again, which PCP keeps for the holder of
/// the nonce. UPnP is the last, because any device of the network may answer it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Search {
    /// The router of the default route is asked for NAT-PMP and PCP.
    Gateway,
    /// The network is asked for a router that speaks UPnP.
    Multicast,
}

impl Search {
    /// In the order in which they are tried.
    pub(super) const ALL: [Self; 2] = [Self::Gateway, Self::Multicast];

    /// The ways that are found, the best first.
    pub(super) async fn ways(self) -> Result<Vec<Way>, Refusal> {
        let router = gateway::default_gateway();
        let local =
            gateway::local_address(router.unwrap_or(ELSEWHERE)).ok_or(Refusal::NoNetwork)?;
        Ok(match (self, router) {
            (Self::Gateway, None) => Vec::new(),
            (Self::Gateway, Some(router)) => {
                let router = SocketAddrV4::new(router, nat_pmp::SERVER_PORT);
                Peer { router, local }.ways().await
            }
            (Self::Multicast, _) => {
                let service = ask::search(local).await;
                let way = service.map(|service| Way::Upnp { service, local });
                way.into_iter().collect()
            }
        })
    }
}

impl Way {
    /// Maps the port, or renews its mapping.
    pub(super) async fn map(&self, port: &mut Port) -> Result<Mapping, Refusal> {
        let mapped = match self {
            Self::NatPmp(peer) => peer.map_by_nat_pmp(*port).await,
            Self::Pcp(peer) => peer.map_by_pcp(*port).await,
            Self::Upnp { service, local } => map_by_upnp(service, *local, *port).await,
        };
        let mapping = mapped.map_err(|said| Refusal::Refused {
            way: self.to_string(),
            said,
        })?;
        port.external = mapping.external.port();
        port.is_mapped = true;
        Ok(mapping)
    }

    /// Removes the mapping of the port, if there is one.
    pub(super) async fn release(&self, port: &mut Port) {
        let was_mapped = std::mem::take(&mut port.is_mapped);
        // The router forgets it after its lifetime if it does not hear that.
        match self {
            Self::NatPmp(peer) => {
                let request = nat_pmp::map_request(port.internal, 0, 0);
                let read = |bytes: &[u8]| nat_pmp::mapping(bytes, port.internal);
                let _ = peer.ask(&request, read).await;
            }
            Self::Pcp(peer) => {
                let request = pcp::map_request(peer.local, &port.nonce, port.internal, 0, 0);
                let read = |bytes: &[u8]| pcp::mapping(bytes, &port.nonce, port.internal);
                let _ = peer.ask(&request, read).await;
            }
            // It names the external port alone, and an attempt that failed may have found it another machine's.
            Self::Upnp { .. } if !was_mapped => {}
            Self::Upnp { service, .. } => {
                let request = upnp::delete(service, port.external);
                let _ = ask::act(service, upnp::DELETE, request).await;
            }
        }
    }
}

impl Peer {
    /// The protocols that the router answers.
    async fn ways(self) -> Vec<Way> {
        let (by_nat_pmp, by_pcp) = (
            nat_pmp::address_request(),
            pcp::announce_request(self.local),
        );
        let (by_nat_pmp, by_pcp) = tokio::join!(
            self.ask(&by_nat_pmp, nat_pmp::address),
            self.ask(&by_pcp, pcp::speaks)
        );
        let nat_pmp = matches!(by_nat_pmp, Some(Ok(_))).then_some(Way::NatPmp(self));
        let pcp = (by_pcp == Some(true)).then_some(Way::Pcp(self));
        nat_pmp.into_iter().chain(pcp).collect()
    }

    async fn ask<T>(&self, request: &[u8], read: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        ask::ask(self.local, self.router, request, read).await
    }

    async fn map_by_nat_pmp(&self, port: Port) -> Result<Mapping, String> {
        let request = nat_pmp::address_request();
        let asked = self.ask(&request, nat_pmp::address).await;
        let address = asked.ok_or_else(no_answer)??;
        let request = nat_pmp::map_request(port.internal, port.external, LIFETIME);
        let read = |bytes: &[u8]| nat_pmp::mapping(bytes, port.internal);
        let asked = self.ask(&request, read).await;
        Mapping::of(address, asked.ok_or_else(no_answer)??)
    }

    async fn map_by_pcp(&self, port: Port) -> Result<Mapping, String> {
        let Port {
            internal,
            external,
            nonce,
            ..
        } = port;
        let request = pcp::map_request(self.local, &nonce, internal, external, LIFETIME);
        let read = |bytes: &[u8]| pcp::mapping(bytes, &nonce, internal);
        let asked = self.ask(&request, read).await;
        let (address, granted) = asked.ok_or_else(no_answer)??;
        Mapping::of(address, granted)
    }
}

impl Mapping {
    fn of(address: Ipv4Addr, granted: Granted) -> Result<Self, String> {
        if granted.external == 0 || granted.seconds == 0 {
            return Err("it gives no port".to_owned());
        }
        Ok(Self {
            external: SocketAddrV4::new(address, granted.external),
            seconds: granted.seconds,
        })
    }
}

async fn map_by_upnp(
    service: &upnp::Service,
    local: Ipv4Addr,
    port: Port,
) -> Result<Mapping, String> {
    let request = upnp::address_request(service);
    let answer = ask::act(service, upnp::ADDRESS, request).await;
    let answer = answer.map_err(|fault| fault.to_string())?;
    let address =
        upnp::address(&answer).ok_or_else(|| "it has no IPv4 address of its own".to_owned())?;
    let mut wish = Wish {
        external: port.external,
        internal: SocketAddrV4::new(local, port.internal),
        seconds: LIFETIME,
    };
    let mut attempts = 1;
    loop {
        match ask::act(service, upnp::ADD, upnp::add(service, wish)).await {
            Ok(_) => break,
            Err(Fault::Code(upnp::ONLY_PERMANENT)) if wish.seconds > 0 => wish.seconds = 0,
            Err(Fault::Code(upnp::CONFLICT)) if attempts < ATTEMPTS => {
                attempts += 1;
                wish.external = wish.external.checked_add(NEXT_PORT).unwrap_or(NEXT_PORT);
            }
            Err(fault) => return Err(fault.to_string()),
        }
    }
    Ok(Mapping {
        external: SocketAddrV4::new(address, wish.external),
        seconds: LIFETIME,
    })
}

fn no_answer() -> String {
    "it does not answer".to_owned()
}
