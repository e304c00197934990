//! What an operator sets, on the command line or in the environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Relays encrypted voice between the members of rooms.
///
/// A relay takes its orders from control nodes and needs an identity from them:
/// `confab-control relay-identity NAME --out DIR`.
#[derive(Parser, Debug, Clone)]
#[command(name = "confab-relay", version)]
pub struct Flags {
    /// UDP address to listen on. `[::]` serves IPv6 and IPv4; port 0 takes any free port.
    #[arg(long, env = "CONFAB_RELAY_LISTEN", default_value = "[::]:4434")]
    pub listen: SocketAddr,

    /// UDP address that clients are told, if it is not the one on which this machine reaches control (as behind a NAT
    /// or a load balancer). Repeat it to offer IPv4 and IPv6.
    #[arg(
        long,
        env = "CONFAB_RELAY_PUBLIC_ADDRESS",
        value_delimiter = ',',
        value_name = "IP:PORT"
    )]
    pub public_address: Vec<SocketAddr>,

    /// Control node to take orders from, HOST:PORT. Repeat it for each node.
    #[arg(
        long,
        env = "CONFAB_RELAY_CONTROL",
        value_delimiter = ',',
        required = true,
        value_name = "HOST:PORT"
    )]
    pub control: Vec<String>,

    /// Folder with relay.crt, relay.key and ca.crt, as `confab-control relay-identity` writes them.
    #[arg(long, env = "CONFAB_RELAY_IDENTITY", value_name = "DIR")]
    pub identity: PathBuf,

    /// Region that this relay serves; rooms are placed by it.
    #[arg(long, env = "CONFAB_RELAY_REGION", default_value = "default")]
    pub region: String,

    /// Worker threads, each with a socket of its own. 0: one for each core. A room stays on one worker.
    #[arg(long, env = "CONFAB_RELAY_WORKERS", default_value_t = 0)]
    pub workers: usize,

    /// Media sessions that this relay takes, at most; each needs about 1 KiB.
    #[arg(long, env = "CONFAB_RELAY_MAX_SESSIONS", default_value_t = 100_000)]
    pub max_sessions: u32,

    /// Datagrams received by one system call, 1 to 1024. Frames that come together share datagrams on their way out.
    #[arg(
        long,
        env = "CONFAB_RELAY_BATCH",
        default_value_t = 64,
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    pub batch: u16,

    /// Receive buffers of each worker. More ride out longer stalls of the network, at 1.3 KiB each.
    #[arg(
        long,
        env = "CONFAB_RELAY_BUFFERS",
        default_value_t = 8192,
        value_parser = clap::value_parser!(u32).range(2048..)
    )]
    pub buffers: u32,

    /// Socket buffers of each worker, in bytes, both ways. The system's limit is net.core.rmem_max and wmem_max.
    #[arg(
        long,
        env = "CONFAB_RELAY_SOCKET_BUFFER",
        default_value_t = 4 << 20
    )]
    pub socket_buffer: usize,

    /// What is logged: error, warn, info, debug or trace, or a filter such as `info,confab_relay=debug`.
    #[arg(long, env = "CONFAB_RELAY_LOG_LEVEL", default_value = "info")]
    pub log_level: String,

    /// How it is logged.
    #[arg(
        long,
        env = "CONFAB_RELAY_LOG_FORMAT",
        value_enum,
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

/// Form of the log, on standard error.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for a person.
    Text,
    /// One JSON object a line.
    Json,
}
