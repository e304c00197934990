//! What an operator sets, on the command line or in the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use confab_protocol::cluster::MAX_IDLE_TIMEOUT;

use crate::io::Pinning;

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

    /// UDP address to listen on. `[::]` serves IPv6 and IPv4, unless an IPv4 address is given too; port 0 takes any free
    /// port. Repeat it, up to 8 times: on a machine with several addresses name each of them, so that answers leave by
    /// the address that was asked.
    #[arg(
        long,
        env = "CONFAB_RELAY_LISTEN",
        value_delimiter = ',',
        default_value = "[::]:4434",
        value_name = "IP:PORT"
    )]
    pub listen: Vec<SocketAddr>,

    /// UDP address that clients are told, if it is not one that the relay listens on or, where that is a wildcard, the
    /// one on which this machine reaches control (as behind a NAT or a load balancer). Repeat it to offer IPv4 and IPv6.
    #[arg(
        long,
        env = "CONFAB_RELAY_PUBLIC_ADDRESS",
        value_delimiter = ',',
        value_name = "IP:PORT"
    )]
    pub public_address: Vec<SocketAddr>,

    /// Control node to take orders from, HOST or HOST:PORT (port 4433 by default). Repeat it for each node.
    #[arg(
        long,
        env = "CONFAB_RELAY_CONTROL",
        value_delimiter = ',',
        required = true,
        value_name = "HOST[:PORT]",
        value_parser = parse_control
    )]
    pub control: Vec<String>,

    /// Folder with relay.crt, relay.key and ca.crt, as `confab-control relay-identity` writes them. Read again at SIGHUP, for
    /// the links from then on.
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

    /// Worker threads, each with sockets of its own. 0: one for each core. More than cores is of no use.
    #[arg(long, env = "CONFAB_RELAY_WORKERS", default_value_t = 0)]
    pub workers: usize,

    /// Cores that workers stay on: `auto` gives each its own when there are as many workers as cores; `none` leaves it to
    /// the system; a list such as `2,3,6` deals them in that order. On a machine that does other work too, or whose
    /// network card interrupts certain cores, a list of the other cores steadies the latency.
    #[arg(long, env = "CONFAB_RELAY_PIN", default_value = "auto", value_name = "CORES", value_parser = parse_pinning)]
    pub pin: Pinning,

    /// For so long after the last datagram a worker asks for the next one again and again before it waits, as 100us; 10ms
    /// at most. Saves the time of being woken, some 5 to 50 us, and costs a busy core. 0us: waits at once.
    #[arg(long, env = "CONFAB_RELAY_BUSY_POLL", default_value = "0us", value_name = "TIME", value_parser = parse_busy_poll)]
    pub busy_poll: Duration,

    /// Media sessions that this relay takes, at most; each needs about 1 KiB.
    #[arg(long, env = "CONFAB_RELAY_MAX_SESSIONS", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_sessions: u32,

    /// Rooms that this relay takes, at most.
    #[arg(long, env = "CONFAB_RELAY_MAX_ROOMS", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_rooms: u32,

    /// Members of a room, at most. More are refused, whatever control allows.
    #[arg(long, env = "CONFAB_RELAY_MAX_MEMBERS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub max_members: u32,

    /// Members of a room that one worker serves before the room spreads to another one. Small rooms stay on one worker,
    /// which costs least; a lower figure spreads a large room's load sooner.
    #[arg(long, env = "CONFAB_RELAY_ROOM_SHARE", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub room_share: u32,

    /// Packets a second that a session may send over a longer time. 120: frames of 10 ms, and keep-alives.
    #[arg(long, env = "CONFAB_RELAY_PACKET_RATE", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub packet_rate: u32,

    /// Packets that a session may send at once, after a pause of its network.
    #[arg(long, env = "CONFAB_RELAY_PACKET_BURST", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub packet_burst: u32,

    /// UDP payload that a session may send over a longer time, in kbit/s. 320: Opus of 128 kbit/s with its redundancy.
    #[arg(long, env = "CONFAB_RELAY_BIT_RATE", default_value_t = 320, value_name = "KBIT", value_parser = clap::value_parser!(u32).range(8..=100_000))]
    pub bit_rate: u32,

    /// A session whose client answers no path challenge for so long is over, 20s to 120s. It is asked from a third of that
    /// time on. Whatever this says, an address that does not answer for 30 s is not sent to.
    #[arg(long, env = "CONFAB_RELAY_IDLE_TIMEOUT", default_value = "30s", value_name = "TIME", value_parser = parse_idle)]
    pub idle_timeout: Duration,

    /// On SIGTERM: for so long the relay goes on serving while control places its rooms elsewhere, as 10s; it ends as
    /// soon as nobody is left. A second signal ends it at once.
    #[arg(long, env = "CONFAB_RELAY_DRAIN_TIME", default_value = "10s", value_name = "TIME", value_parser = parse_drain)]
    pub drain_time: Duration,

    /// Speakers of a room that are forwarded at once, 1 to 64. Each costs every listener a frame. When more speak, places
    /// are shared evenly among accounts, and among accounts the louder speakers have them.
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

    /// How audio leaves. `packet` goes around the system's UDP stack and saves about a third of a datagram's cost: Linux
    /// alone, needs CAP_NET_RAW, and passes by this host's own firewall rules for output, NAT, IPsec and traffic control.
    /// Whatever has to go another way (tunnels, receivers on this host) still goes by the UDP sockets.
    #[arg(
        long,
        env = "CONFAB_RELAY_TRANSMIT",
        value_enum,
        default_value = "socket"
    )]
    pub transmit: Transmit,

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

fn parse_wait(text: &str) -> Result<Duration, String> {
    // Longer than a usual frame makes no sense.
    parse_time(text, Duration::ZERO, Duration::from_millis(20))
}

fn parse_busy_poll(text: &str) -> Result<Duration, String> {
    parse_time(text, Duration::ZERO, Duration::from_millis(10))
}

fn parse_idle(text: &str) -> Result<Duration, String> {
    // Listeners may be silent for 15 s between two keep-alives.
    parse_time(text, Duration::from_secs(20), MAX_IDLE_TIMEOUT)
}

/// HOST:PORT, with the usual port if there is none.
fn parse_control(text: &str) -> Result<String, String> {
    const PORT: u16 = 4433;
    let bad = || "a control node looks like HOST, HOST:PORT or [IPv6 address]:PORT".to_owned();
    if text.is_empty() || text.contains(['/', ' ', '@']) {
        return Err(bad());
    }
    if let Ok(address) = text.parse::<std::net::Ipv6Addr>() {
        return Ok(format!("[{address}]:{PORT}"));
    }
    let has_port = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or_else(bad)?.1.starts_with(':'),
        None => text.contains(':'),
    };
    if !has_port {
        return Ok(format!("{text}:{PORT}"));
    }
    let port = text
        .rsplit(':')
        .next()
        .and_then(|port| port.parse::<u16>().ok());
    match port {
        Some(1..=u16::MAX) => Ok(text.to_owned()),
        _ => Err(bad()),
    }
}

fn parse_drain(text: &str) -> Result<Duration, String> {
    parse_time(text, Duration::ZERO, Duration::from_secs(3600))
}

/// A number with its unit.
fn parse_time(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let units = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    let mut read = units.iter().filter_map(|(unit, seconds)| {
        let number: f64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
        Duration::try_from_secs_f64(number * seconds).ok()
    });
    match read.next() {
        Some(time) if (least..=most).contains(&time) => Ok(time),
        Some(_) => Err(format!("it is {least:?} to {most:?}")),
        None => Err("a time looks like 5ms, 500us or 30s".to_owned()),
    }
}

fn parse_pinning(text: &str) -> Result<Pinning, String> {
    match text {
        "auto" => Ok(Pinning::Auto),
        "none" => Ok(Pinning::None),
        list => list
            .split(',')
            .map(|core| core.trim().parse().ok())
            .collect::<Option<_>>()
            .map(Pinning::Cores)
            .ok_or_else(|| "it is auto, none, or cores as 2,3,6".to_owned()),
    }
}

/// By which sockets audio leaves.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transmit {
    /// By the UDP sockets, as everything else.
    Socket,
    /// By a packet socket, as Ethernet frames.
    Packet,
}

/// Form of the log, on standard error.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for a person.
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(more: &[&str]) -> Result<Flags, clap::Error> {
        let least = ["confab-relay", "--control", "a:1", "--identity", "x"];
        Flags::try_parse_from(least.iter().chain(more))
    }

    #[test]
    fn a_control_node_has_a_port_or_gets_the_usual_one() {
        for (given, taken) in [
            ("localhost", "localhost:4433"),
            ("talk.example.org:99", "talk.example.org:99"),
            ("::1", "[::1]:4433"),
            ("[::1]", "[::1]:4433"),
            ("[2001:db8::1]:99", "[2001:db8::1]:99"),
            ("192.0.2.1", "192.0.2.1:4433"),
        ] {
            assert_eq!(parse_control(given).as_deref(), Ok(taken), "{given}");
        }
        for bad in ["", "a:", "a:0", "a:70000", "[::1", "https://a", "a b"] {
            assert!(parse_control(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_units_and_limits() {
        let parsed = flags(&["--coalesce-max", "500us", "--idle-timeout", "45s"]);
        let parsed = parsed.expect("good flags");
        assert_eq!(parsed.coalesce_max, Duration::from_micros(500));
        assert_eq!(parsed.idle_timeout, Duration::from_secs(45));
        for bad in ["5", "21ms", "-1ms", "ms", "NaNs", "1e99s", "inf s"] {
            assert!(flags(&["--coalesce-max", bad]).is_err(), "{bad}");
        }
        assert!(flags(&["--idle-timeout", "3s"]).is_err());
    }

    #[test]
    fn several_addresses_are_given_by_repetition_or_with_commas() {
        let parsed = flags(&["--listen", "0.0.0.0:1", "--listen", "[::]:1"]).expect("good flags");
        let again = flags(&["--listen", "0.0.0.0:1,[::]:1"]).expect("good flags");
        assert_eq!(parsed.listen.len(), 2);
        assert_eq!(parsed.listen, again.listen);
    }

    #[test]
    fn cores_are_given_by_a_word_or_a_list() {
        let pin = |text| flags(&["--pin", text]).map(|flags| flags.pin);
        assert_eq!(pin("none").expect("good"), Pinning::None);
        assert_eq!(pin("2,3").expect("good"), Pinning::Cores(vec![2, 3]));
        assert!(pin("two").is_err());
    }
}
