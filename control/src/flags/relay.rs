//! Flags of a relay in the server's process.

use std::net::SocketAddr;

use clap::Args;
use confab_console::values::socket_address;

/// Flags of a relay in the server's process.
#[derive(Args, Debug)]
pub struct RelayFlags {
    /// Run a relay in this process, with an identity of its own in the data folder: all that a small server needs. A restart
    /// interrupts voice for a second or two. Relays on other machines may join at any time. Default: none.
    #[arg(long)]
    pub with_relay: bool,

    /// UDP address on which that relay listens; clients send their voice there.
    #[arg(long, default_value = "[::]:4434", value_name = "ADDRESS:PORT", requires = "with_relay", value_parser = socket_address)]
    pub relay_listen: SocketAddr,

    /// UDP address of that relay that clients are told, an IP address and a port. May be repeated, or separated by commas, 8 at
    /// most. Default: the addresses of each --public-name, and this machine's own on its networks; clients try all of them. Set it
    /// behind a NAT whose address no --public-name stands for, or that changes the port.
    #[arg(long, value_name = "IP:PORT", value_delimiter = ',', requires = "with_relay", value_parser = socket_address)]
    pub relay_public_address: Vec<SocketAddr>,
}
