//! What an operator sets, on the command line or in the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

/// Relays encrypted voice between the members of rooms.
///
/// A relay takes its orders from control nodes and needs an identity from them:
/// `confab-control relay-identity NAME --out DIR`.
#[derive(Parser, Debug, Clone)]
#[command(
    name = "confab-relay",
    version,
    subcommand_negates_reqs = true,
    args_conflicts_with_subcommands = true
)]
pub struct Flags {
    /// Something else than to relay.
    #[command(subcommand)]
    pub command: Option<Command>,

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
    #[arg(
        long,
        env = "CONFAB_RELAY_IDENTITY",
        required = true,
        value_name = "DIR"
    )]
    pub identity: Option<PathBuf>,

    /// Region that this relay serves; rooms are placed by it.
    #[arg(long, env = "CONFAB_RELAY_REGION", default_value = "default")]
    pub region: String,

    /// Worker threads, each with a socket of its own. 0: one for each core. A room stays on one worker.
    #[arg(long, env = "CONFAB_RELAY_WORKERS", default_value_t = 0)]
    pub workers: usize,

    /// Media sessions that this relay takes, at most; each needs about 1 KiB.
    #[arg(long, env = "CONFAB_RELAY_MAX_SESSIONS", default_value_t = 100_000)]
    pub max_sessions: u32,

    /// Speakers of a room that are forwarded at once, 1 to 64: the loudest. Each costs every listener a frame.
    #[arg(
        long,
        env = "CONFAB_RELAY_SPEAKERS",
        default_value_t = 16,
        value_parser = clap::value_parser!(u8).range(1..=64)
    )]
    pub speakers: u8,

    /// Longest time for which a frame may wait for others of its room to share a datagram, as 5ms; 20ms at most. The
    /// wait grows with the load: nothing while a worker is idle, this much when it is busy. 0ms: never.
    #[arg(long, env = "CONFAB_RELAY_COALESCE_MAX", default_value = "0ms", value_name = "TIME", value_parser = parse_wait)]
    pub coalesce_max: Duration,

    /// Shortest such time, even while a worker is idle. For measuring; it delays everyone.
    #[arg(long, env = "CONFAB_RELAY_COALESCE_MIN", default_value = "0ms", value_name = "TIME", value_parser = parse_wait)]
    pub coalesce_min: Duration,

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

    /// TCP address for /metrics (Prometheus), /healthz and /readyz. Without it there are none. Keep it off the public
    /// network: it tells how much is going on, though not who talks to whom.
    #[arg(long, env = "CONFAB_RELAY_METRICS", value_name = "IP:PORT")]
    pub metrics: Option<SocketAddr>,

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

/// What a relay does besides relaying.
#[derive(Subcommand, Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Tells what on this host will hold a relay back, and the command that mends it.
    Check,
}

/// Longest coalescing that makes sense: the length of a usual frame.
const MAX_COALESCE: Duration = Duration::from_millis(20);

fn parse_wait(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("us") {
        Some(number) => (number, 1e-6),
        None => (text.strip_suffix("ms").unwrap_or(text), 1e-3),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "a time looks like 5ms or 500us".to_owned())?;
    match Duration::try_from_secs_f64(number * unit) {
        Ok(wait) if wait <= MAX_COALESCE => Ok(wait),
        _ => Err(format!("0ms to {} ms", MAX_COALESCE.as_millis())),
    }
}

/// Form of the log, on standard error.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for a person.
    Text,
    /// One JSON object a line.
    Json,
}
