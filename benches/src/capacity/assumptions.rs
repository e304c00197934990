//! The assumptions: flags, whose defaults name their source.

use clap::Args;

use crate::measured::Measured;

/// Frames a second of a room at the knee: one participant speaks.
const KNEE_FRAMES: f64 = 50.0;
/// Receivers of each of these frames.
const KNEE_RECEIVERS: f64 = 9.0;

/// The assumptions.
#[derive(Args, Debug, Clone)]
pub struct Assumptions {
    /// Participants at the busiest moment. Given.
    #[arg(long, default_value_t = 4_000_000, value_name = "COUNT")]
    pub people: u32,

    /// People who talk on a day. Given.
    #[arg(long, default_value_t = 14_000_000, value_name = "COUNT")]
    pub daily: u64,

    /// Accounts. Given.
    #[arg(long, default_value_t = 250_000_000, value_name = "COUNT")]
    pub accounts: u64,

    /// Accounts that are new in a month. Given.
    #[arg(long, default_value_t = 200_000, value_name = "COUNT")]
    pub new_accounts: u64,

    /// Rooms that a person joins on a day. A guess; how long people stay follows from it.
    #[arg(long, default_value_t = 3.0, value_name = "COUNT")]
    pub joins_per_day: f64,

    /// Rooms of n people are n to the power of minus this. A guess: 2.1 makes 4 people the mean, most rooms one or two people,
    /// and half of all people are in gatherings of 24 and more.
    #[arg(long, default_value_t = 2.1, value_name = "EXPONENT")]
    pub room_exponent: f64,

    /// People of the largest gathering. Given.
    #[arg(long, default_value_t = 10_000, value_name = "COUNT")]
    pub largest: u32,

    /// People that a room takes: a larger gathering fills several. Default: that of confab-control.
    #[arg(long, default_value_t = 1000, value_name = "COUNT")]
    pub max_participants: u32,

    /// Minutes after the first one in which the others of a room come, in the mean. A guess.
    #[arg(long, default_value_t = 10.0, value_name = "MINUTES")]
    pub gather_minutes: f64,

    /// Share of the time for which a person sends frames, while few do. A guess; with --speakers it makes each person hear about
    /// as much as is reported of another service of this kind (docs/scale.md).
    #[arg(long, default_value_t = 0.35, value_name = "SHARE")]
    pub speaking: f64,

    /// Speakers of a room that send at once, in the mean, at most. A guess, as --speaking.
    #[arg(long, default_value_t = 1.5, value_name = "COUNT")]
    pub speakers: f64,

    /// Processor time of a relay for each frame that comes in, in microseconds. Default: a room of 10 at the knee of one
    /// worker (relay.knee_rooms) without its nine datagrams (relay.cpu_per_datagram_us.packet), of docs/figures.json.
    #[arg(long, default_value_t = frame_us(), value_name = "US")]
    pub frame_us: f64,

    /// Processor time of a relay for each datagram that goes out, in microseconds. Default: relay.cpu_per_datagram_us.packet of
    /// bench-relay, with --transmit packet and no window; by sockets it is 3.4.
    #[arg(long, default_value_t = measured("relay.cpu_per_datagram_us.packet"), value_name = "US")]
    pub datagram_us: f64,

    /// Bytes of a frame on the wire: 85 of SFrame, 5 of record, 14 of header (docs/protocol.md), 8 of UDP, 20 of IPv4, 38 of
    /// Ethernet with its gap.
    #[arg(long, default_value_t = 170, value_name = "BYTES")]
    pub frame_bytes: u32,

    /// Relays.
    #[arg(long, default_value_t = 1000, value_name = "COUNT")]
    pub relays: u16,

    /// Workers of a relay, one for each core.
    #[arg(long, default_value_t = 4, value_name = "COUNT")]
    pub workers: u8,

    /// Sessions that a relay takes. Default: that of confab-relay.
    #[arg(long, default_value_t = 100_000, value_name = "COUNT")]
    pub max_sessions: u32,

    /// Members of a room on one worker before it spreads to another. Default: that of confab-relay.
    #[arg(long, default_value_t = 256, value_name = "COUNT")]
    pub room_share: u32,

    /// How busy a relay's workers are to be at the most, in percent, when relays are counted. A choice: at half of its knee a relay
    /// adds 0.1 ms (bench-relay), and it has room for the rooms of a lost one and for what is unevenly spread.
    #[arg(long, default_value_t = 50.0, value_name = "PERCENT")]
    pub target_busy: f64,

    /// A relay's network in Gbit/s, of which half is to be used.
    #[arg(long, default_value_t = 10.0, value_name = "GBIT")]
    pub nic_gbit: f64,

    /// Share of relays that is lost at once when most people talk. Given.
    #[arg(long, default_value_t = 0.01, value_name = "SHARE")]
    pub lost: f64,

    /// Seconds until a silent relay is taken for dead. Default: SILENCE of control/src/cluster/link.rs.
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS")]
    pub silence_s: f64,

    /// Control nodes.
    #[arg(long, default_value_t = 40, value_name = "COUNT")]
    pub nodes: u16,

    /// Cores of a control node.
    #[arg(long, default_value_t = 8, value_name = "COUNT")]
    pub node_cores: u16,

    /// Memory of a control node for connections, in GB.
    #[arg(long, default_value_t = 16.0, value_name = "GB")]
    pub node_gb: f64,

    /// Joins a second that a core of a control node does. Default: control.joins_per_s_core.cql of bench-control. A person whose
    /// room goes elsewhere is taken to cost as much, which is too much: nothing is looked up.
    #[arg(long, default_value_t = measured("control.joins_per_s_core.cql"), value_name = "COUNT")]
    pub joins_per_s_core: f64,

    /// Log-ins a second that a core of a control node does. Default: control.logins_per_s_core of bench-control.
    #[arg(long, default_value_t = measured("control.logins_per_s_core"), value_name = "COUNT")]
    pub logins_per_s_core: f64,

    /// Signed-in idle connections in a GB of a control node. Default: control.idle_connections_per_gb of bench-control.
    #[arg(long, default_value_t = measured("control.idle_connections_per_gb"), value_name = "COUNT")]
    pub connections_per_gb: f64,

    /// Processor time that an idle connection takes of a control node, in microseconds a second. Default:
    /// control.idle_connection_us_per_s of bench-control.
    #[arg(long, default_value_t = measured("control.idle_connection_us_per_s"), value_name = "US")]
    pub idle_us_per_s: f64,

    /// Conditional writes a second of one database node. Default: control.conditional_writes_per_s of bench-control, of a Cassandra
    /// in memory on two shared cores with one replica.
    #[arg(long, default_value_t = measured("control.conditional_writes_per_s"), value_name = "COUNT")]
    pub conditional_per_s: f64,

    /// Storage of a user in bytes, one replica. Default: the larger control.bytes_per_user of bench-control.
    #[arg(long, default_value_t = bytes_per_user(), value_name = "BYTES")]
    pub bytes_per_user: f64,

    /// Replicas of each row. Default: that of confab-control.
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    pub replicas: u8,

    /// Fixes all chance.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
}

fn measured(name: &str) -> f64 {
    Measured::published().value(name)
}

/// Processor time of a frame at the knee of a worker without the frame's datagrams, in microseconds.
fn frame_us() -> f64 {
    let frames = measured("relay.knee_rooms") * KNEE_FRAMES;
    1e6 / frames - KNEE_RECEIVERS * measured("relay.cpu_per_datagram_us.packet")
}

fn bytes_per_user() -> f64 {
    let of = [
        "control.bytes_per_user.sqlite",
        "control.bytes_per_user.cql",
    ];
    of.map(measured).into_iter().fold(0.0, f64::max)
}

impl Assumptions {
    /// Refuses assumptions that the simulation cannot run.
    ///
    /// # Errors
    ///
    /// A sentence that names the flag.
    pub fn check(&self) -> Result<(), String> {
        let wants = |what: bool, flag: &str, sentence: &str| match what {
            true => Ok(()),
            false => Err(format!("{flag} {sentence}")),
        };
        let positive = [
            (self.joins_per_day, "--joins-per-day"),
            (self.gather_minutes, "--gather-minutes"),
            (self.target_busy, "--target-busy"),
            (self.nic_gbit, "--nic-gbit"),
            (self.node_gb, "--node-gb"),
            (self.joins_per_s_core, "--joins-per-s-core"),
            (self.logins_per_s_core, "--logins-per-s-core"),
            (self.connections_per_gb, "--connections-per-gb"),
            (self.conditional_per_s, "--conditional-per-s"),
        ];
        for (value, flag) in positive {
            wants(value > 0.0, flag, "has to be more than zero")?;
        }
        let counts = [
            (u64::from(self.people), "--people"),
            (self.daily, "--daily"),
            (u64::from(self.workers), "--workers"),
            (u64::from(self.nodes), "--nodes"),
            (u64::from(self.node_cores), "--node-cores"),
            (u64::from(self.room_share), "--room-share"),
            (u64::from(self.max_participants), "--max-participants"),
            (u64::from(self.largest), "--largest"),
        ];
        for (count, flag) in counts {
            wants(count > 0, flag, "has to be one at least")?;
        }
        let regions = super::regions::REGIONS.len();
        wants(
            usize::from(self.relays) >= regions && self.relays < u16::MAX,
            "--relays",
            &format!("has to be {regions} at least, one for each region, and below 65 535"),
        )?;
        wants(
            self.largest.max(self.max_participants) <= 10_000,
            "--largest and --max-participants",
            "are 10 000 at most, as in confab-control",
        )?;
        wants(
            (0.0..0.5).contains(&self.lost),
            "--lost",
            "is a share below one half",
        )?;
        wants(
            self.daily >= u64::from(self.people),
            "--daily",
            "has to be --people at least",
        )
    }

    /// People whose rooms a control node places elsewhere in a second.
    pub fn moves_per_s_node(&self) -> f64 {
        self.joins_per_s_core * f64::from(self.node_cores)
    }
}
