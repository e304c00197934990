//! What an operator sets, on the command line, in the environment or in a file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use confab_console::configuration::{Program, ProgramFlags};
use confab_console::values::{
    BitRate, PerSecond, Size, duration_within, socket_address, whole_within,
};
use confab_protocol::cluster::MAX_IDLE_TIMEOUT;
use confab_protocol::control::server::{BadServer, Server};

use crate::io::Pinning;

/// The longest wait of a worker that asks again and again.
const LONGEST_BUSY_POLL: Duration = Duration::from_millis(10);
/// Longer than a usual frame makes no sense.
const LONGEST_COALESCING: Duration = Duration::from_millis(20);
/// Listeners may be silent for 15 s between two keep-alives.
const SHORTEST_IDLE_TIMEOUT: Duration = Duration::from_secs(20);
const LONGEST_DRAIN_TIME: Duration = Duration::from_secs(60 * 60);
/// The system counts them in an `int`.
const MOST_SOCKET_BUFFER: Size = Size(1 << 30);

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
        value_delimiter = ',',
        default_value = "[::]:4434",
        value_name = "IP:PORT",
        value_parser = socket_address
    )]
    pub listen: Vec<SocketAddr>,

    /// UDP address that clients are told, if it is not one that the relay listens on or, where that is a wildcard, the
    /// one on which this machine reaches control (as behind a NAT or a load balancer). Repeat it to offer IPv4 and IPv6.
    #[arg(long, value_delimiter = ',', value_name = "IP:PORT", value_parser = socket_address)]
    pub public_address: Vec<SocketAddr>,

    /// Control node to take orders from, HOST or HOST:PORT (port 4433 by default). Repeat it for each node.
    #[arg(
        long,
        value_delimiter = ',',
        required = true,
        value_name = "HOST[:PORT]",
        value_parser = parse_control
    )]
    pub control: Vec<String>,

    /// Folder with relay.crt, relay.key and ca.crt, as `confab-control relay-identity` writes them. Read again at SIGHUP, for
    /// the links from then on.
    #[arg(long, required = true, value_name = "DIR")]
    pub identity: Option<PathBuf>,

    /// Region that this relay serves; rooms are placed by it.
    #[arg(long, default_value = "default")]
    pub region: String,

    /// Worker threads, each with sockets of its own. 0: one for each core. More than cores is of no use.
    #[arg(long, default_value_t = 0)]
    pub workers: usize,

    /// Cores that workers stay on: `auto` gives each its own when there are as many workers as cores; `none` leaves it to
    /// the system; a list such as `2,3,6` deals them in that order. On a machine that does other work too, or whose
    /// network card interrupts certain cores, a list of the other cores steadies the latency.
    #[arg(long, default_value = "auto", value_name = "CORES", value_parser = parse_pinning)]
    pub pin: Pinning,

    /// For so long after the last datagram a worker asks for the next one again and again before it waits, as 100us; 10ms
    /// at most. Saves the time of being woken, some 5 to 50 us, and costs a busy core. 0s: waits at once.
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = duration_within(Duration::ZERO..=LONGEST_BUSY_POLL))]
    pub busy_poll: Duration,

    /// Media sessions that this relay takes, at most; each needs about 1 KiB.
    #[arg(long, default_value_t = 100_000, value_parser = whole_within(1_u32..=u32::MAX))]
    pub max_sessions: u32,

    /// Rooms that this relay takes, at most.
    #[arg(long, default_value_t = 100_000, value_parser = whole_within(1_u32..=u32::MAX))]
    pub max_rooms: u32,

    /// Members of a room, at most. More are refused, whatever control allows.
    #[arg(long, default_value_t = 10_000, value_parser = whole_within(1_u32..=65_536))]
    pub max_members: u32,

    /// Members of a room that one worker serves before the room spreads to another one. Small rooms stay on one worker,
    /// which costs least; a lower figure spreads a large room's load sooner.
    #[arg(long, default_value_t = 256, value_parser = whole_within(1_u32..=u32::MAX))]
    pub room_share: u32,

    /// Packets that a session may send over a longer time, 1/s to 10000/s. 120/s: frames of 10 ms, and keep-alives.
    #[arg(long, default_value_t = PerSecond(120.0), value_name = "RATE", value_parser = PerSecond::within(PerSecond(1.0)..=PerSecond(10_000.0)))]
    pub packet_rate: PerSecond,

    /// Packets that a session may send at once, after a pause of its network.
    #[arg(long, default_value_t = 40, value_parser = whole_within(1_u32..=10_000))]
    pub packet_burst: u32,

    /// UDP payload that a session may send over a longer time, 8kbit/s to 100Mbit/s. 320kbit/s: Opus of 128 kbit/s with its
    /// redundancy.
    #[arg(long, default_value_t = BitRate(320_000), value_name = "RATE", value_parser = BitRate::within(BitRate(8000)..=BitRate(100_000_000)))]
    pub bit_rate: BitRate,

    /// A session whose client answers no path challenge for so long is over, 20s to 2m. It is asked from a third of that
    /// time on. Whatever this says, an address that does not answer for 30 s is not sent to.
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = duration_within(SHORTEST_IDLE_TIMEOUT..=MAX_IDLE_TIMEOUT))]
    pub idle_timeout: Duration,

    /// On SIGTERM: for so long the relay goes on serving while control places its rooms elsewhere, as 10s; it ends as
    /// soon as nobody is left. A second signal ends it at once.
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = duration_within(Duration::ZERO..=LONGEST_DRAIN_TIME))]
    pub drain_time: Duration,

    /// Speakers of a room that are forwarded at once, 1 to 64. Each costs every listener a frame. When more speak, places
    /// are shared evenly among accounts, and among accounts the louder speakers have them.
    #[arg(
        long,
        default_value_t = 16,
        value_parser = whole_within(1_u8..=64)
    )]
    pub speakers: u8,

    /// Longest time for which a frame may wait for others of its room to share a datagram, as 5ms; 20ms at most. The
    /// wait grows with the load: nothing while a worker is idle, this much when it is busy. 0s: never.
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = duration_within(Duration::ZERO..=LONGEST_COALESCING))]
    pub coalesce_max: Duration,

    /// Shortest such time, even while a worker is idle. For measuring; it delays everyone.
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = duration_within(Duration::ZERO..=LONGEST_COALESCING))]
    pub coalesce_min: Duration,

    /// Datagrams received by one system call, 1 to 1024. Frames that come together share datagrams on their way out.
    #[arg(
        long,
        default_value_t = 64,
        value_parser = whole_within(1_u16..=1024)
    )]
    pub batch: u16,

    /// Receive buffers of each worker. More ride out longer stalls of the network, at 1.3 KiB each.
    #[arg(
        long,
        default_value_t = 8192,
        value_parser = whole_within(2048_u32..=u32::MAX)
    )]
    pub buffers: u32,

    /// Socket buffers of each worker, both ways, up to 1GiB. The system's limit is net.core.rmem_max and wmem_max.
    #[arg(
        long,
        default_value_t = Size(4 << 20),
        value_name = "SIZE",
        value_parser = Size::within(Size(0)..=MOST_SOCKET_BUFFER)
    )]
    pub socket_buffer: Size,

    /// How audio leaves. `packet` goes around the system's UDP stack and saves about a third of a datagram's cost: Linux
    /// alone, needs CAP_NET_RAW, and passes by this host's own firewall rules for output, NAT, IPsec and traffic control.
    /// Whatever has to go another way (tunnels, receivers on this host) still goes by the UDP sockets.
    #[arg(long, value_enum, default_value = "socket")]
    pub transmit: Transmit,

    /// TCP address for /metrics (Prometheus), /healthz and /readyz. Without it there are none. Keep it off the public
    /// network: it tells how much is going on, though not who talks to whom.
    #[arg(long, value_name = "IP:PORT", value_parser = socket_address)]
    pub metrics: Option<SocketAddr>,

    /// What is logged: error, warn, info, debug or trace, or a filter such as `info,confab_relay=debug`.
    #[arg(long, default_value = "info")]
    pub log_level: String,

    /// How it is logged.
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

impl ProgramFlags for Flags {
    const PROGRAM: Program = Program {
        name: "confab-relay",
        unwritten: 1,
        typed_only: &[],
        tables: &[],
        own_file: None,
    };
}

/// What a relay does besides relaying.
#[derive(Subcommand, Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Tells what on this host will hold a relay back, and the command that mends it.
    Check,
}

/// HOST:PORT, with the usual port if there is none.
fn parse_control(text: &str) -> Result<String, BadServer> {
    text.parse().map(|node: Server| node.to_string())
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
