//! Flags of a relay in the server's process.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use clap::Args;
use confab_console::values::socket_address;

/// Where that relay listens if nobody says otherwise.
const RELAY_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 4434);

/// Flags of a relay in the server's process.
#[derive(Args, Debug)]
pub struct RelayFlags {
    /// Run a relay in this process, with an identity of its own in the data folder: all that a small server needs. A restart
    /// interrupts voice for a second or two. Relays on other machines may join at any time. Default: none.
    #[arg(long)]
    pub with_relay: bool,

    /// UDP address on which that relay listens; clients send their voice there.
    #[arg(long, default_value_t = RELAY_LISTEN, value_name = "ADDRESS:PORT", value_parser = socket_address)]
    pub relay_listen: SocketAddr,

    /// UDP address of that relay that clients are told, an IP address and a port. May be repeated, or separated by commas, 8 at
    /// most. Default: the addresses of each --public-name, and this machine's own on its networks; clients try all of them. Set it
    /// behind a NAT whose address no --public-name stands for, or that changes the port.
    #[arg(long, value_name = "IP:PORT", value_delimiter = ',', requires = "with_relay", value_parser = socket_address)]
    pub relay_public_address: Vec<SocketAddr>,

    /// Ask the router of this network, by NAT-PMP, PCP or UPnP, to pass the UDP ports of this server and of that relay to this machine, and print
    /// the outcome. Clients are told the relay's address outside; the link that is printed has the server's, unless there is a --public-name. The
    /// mappings are renewed while the server runs, and released at its end. Set it at home, for friends elsewhere. Default: the router is not asked.
    #[arg(long, requires = "with_relay")]
    pub map_ports: bool,
}

impl RelayFlags {
    /// What is said of the relay's flags that have no effect.
    pub fn without_effect(&self) -> Option<&'static str> {
        let is_said = self.relay_listen != RELAY_LISTEN;
        (is_said && !self.with_relay).then_some(
            "--relay-listen has no effect: there is no relay in this process without --with-relay",
        )
    }
}
