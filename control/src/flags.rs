//! The command line. Doc comments are the help text; every flag can be given in the environment too.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use confab_protocol::control::Region;

use crate::accounts::{AccountsConfig, LoginLimits};
use crate::clients::ConnectionLimits;
use crate::clients::slots::SlotLimits;
use crate::clock::Clock;
use crate::domain::{HashCost, NodeName};
use crate::rooms::RoomLimits;
use crate::server::{Config, NodeConfig, StoreConfig};
use crate::tls::certificates::OwnCertificate;

mod identities;
mod operator;
mod store;

pub use identities::{
    ClusterKeysFlags, FingerprintFlags, NodeIdentityFlags, OperatorIdentityFlags,
    RelayIdentityFlags,
};
pub use operator::{DrainFlags, OperatorFlags, RevokeNodeFlags, RevokeRelayFlags, StatusFlags};
pub use store::{CqlFlags, StorePassword, StoreUrl};

/// The control server of Confab: accounts, conferences and live rooms over QUIC.
#[derive(Parser, Debug)]
#[command(name = "confab-control", version)]
pub struct Flags {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Runs the server until SIGTERM or SIGINT; a second one ends it at once. SIGHUP has it read its certificates again.
    Serve(Box<ServeFlags>),
    /// Makes an identity for a relay: relay.crt, relay.key and ca.crt. Copy the folder to the relay's machine; its key lets
    /// it carry every room's media.
    RelayIdentity(RelayIdentityFlags),
    /// Makes an identity for a control node, which then runs without ca.key: node.crt, node.key, server.crt and server.key, with ca.crt,
    /// token.key and server.id. Copy the folder to the node's machine, as its data folder.
    NodeIdentity(NodeIdentityFlags),
    /// Makes an identity for operators' commands (status, drain, revoke-…) on a machine without ca.key: operator.crt, operator.key
    /// and ca.crt. Whoever has it may drain and revoke.
    OperatorIdentity(OperatorIdentityFlags),
    /// Copies what all control nodes of a cluster have: ca.crt, token.key and server.id, and with --ca-key ca.key, so that the node makes
    /// its own identity. Copy the folder to the node's machine, as its data folder. Whoever has ca.key can be any node and any relay.
    ClusterKeys(ClusterKeysFlags),
    /// Prints the cluster CA's fingerprint, which clients pin.
    Fingerprint(FingerprintFlags),
    /// Shows how the nodes and relays of a cluster do that runs.
    Status(StatusFlags),
    /// Has a relay drain and end: its rooms go to other relays, no new ones come to it. Waits until it has no sessions. Ends
    /// with status 1 when some are left, 4 when there is no such relay and 6 when no node answers.
    Drain(DrainFlags),
    /// Revokes every identity of a relay that was made until now, at all nodes, within seconds. One that `relay-identity` makes
    /// afterwards under the same name is good.
    RevokeRelay(RevokeRelayFlags),
    /// Revokes every identity of a control node that was made until now, at all other nodes, within seconds. One that `node-identity`
    /// makes afterwards under the same name is good.
    RevokeNode(RevokeNodeFlags),
}

/// Flags of `serve`.
#[derive(Args, Debug)]
pub struct ServeFlags {
    /// UDP address to listen on (QUIC). An IPv6 address of all zeros takes IPv4 in as well; port 0 takes a free one. Change it when the port is
    /// taken or only one interface is to be served.
    #[arg(
        long,
        env = "CONFAB_CONTROL_LISTEN",
        default_value = "[::]:4433",
        value_name = "ADDRESS:PORT"
    )]
    pub listen: SocketAddr,

    /// Folder for keys, certificates and the embedded store; made when it is missing. Back it up: whoever loses it loses the
    /// cluster CA and, without another store, all accounts.
    #[arg(
        long,
        env = "CONFAB_CONTROL_DATA_DIR",
        default_value = "confab-data",
        value_name = "FOLDER"
    )]
    pub data_dir: PathBuf,

    /// Where accounts and conferences are kept: `sqlite`, which is confab.sqlite in the data folder, `sqlite:PATH` to put it on
    /// another disk, or `cql://HOST:PORT,HOST:PORT/KEYSPACE` for a ScyllaDB or Cassandra. A file is for one control node; several
    /// that share a database are one server.
    #[arg(
        long,
        env = "CONFAB_CONTROL_STORE",
        default_value = "sqlite",
        value_name = "URL"
    )]
    pub store: StoreUrl,

    /// What this node is called among those that share its database: 1 to 32 of a-z, 0-9 and '-'. Default: the machine's name and
    /// the port. Give one when the machine's name changes from start to start.
    #[arg(long, env = "CONFAB_CONTROL_NODE", value_name = "NAME")]
    pub node: Option<NodeName>,

    /// Where the other nodes reach this one. Default: the first --public-address. Give it when they should use an inner network.
    #[arg(
        long,
        env = "CONFAB_CONTROL_CLUSTER_ADDRESS",
        value_name = "HOST:PORT",
        value_parser = operator::host_and_port
    )]
    pub cluster_address: Option<String>,

    /// Where clients reach this node and no other, told to those whose room is here. May be given more than once, or with commas
    /// between. Default: each --public-name, or the address of --listen, with its port. Give it behind a load balancer or a NAT.
    #[arg(
        long = "public-address",
        env = "CONFAB_CONTROL_PUBLIC_ADDRESS",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        value_parser = operator::host_and_port
    )]
    pub public_addresses: Vec<String>,

    /// Region in which this node is, as relays name theirs: rooms whose first participant connects here are placed there.
    #[arg(long, env = "CONFAB_CONTROL_REGION", value_name = "NAME")]
    pub region: Option<Region>,

    /// How to reach a CQL store.
    #[command(flatten)]
    pub cql: CqlFlags,

    /// PEM file with a certificate chain of your own to show to clients. Default: the cluster CA's, which clients pin by
    /// its fingerprint. Give one of a public CA and clients need to pin nothing. Relays see the cluster's in any case. Read
    /// again at SIGHUP.
    #[arg(
        long,
        env = "CONFAB_CONTROL_CERTIFICATE",
        value_name = "FILE",
        requires = "key"
    )]
    pub certificate: Option<PathBuf>,

    /// PEM file with the private key of --certificate.
    #[arg(
        long,
        env = "CONFAB_CONTROL_KEY",
        value_name = "FILE",
        requires = "certificate"
    )]
    pub key: Option<PathBuf>,

    /// DNS name or IP address by which clients reach this server, to be put into the cluster's certificate beside localhost
    /// and this machine's name. May be given more than once, or with commas between.
    #[arg(
        long = "public-name",
        env = "CONFAB_CONTROL_PUBLIC_NAME",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub public_names: Vec<String>,

    /// Age in years at which one may register. Change it to what the law asks where your people live.
    #[arg(
        long,
        env = "CONFAB_CONTROL_MIN_AGE",
        default_value_t = 12,
        value_name = "YEARS"
    )]
    pub min_age: u8,

    /// How long a session lives after it was last refreshed, in days. Shorter has people log in more often; longer keeps a
    /// lost device signed in.
    #[arg(long, env = "CONFAB_CONTROL_SESSION_TTL", default_value_t = 30, value_name = "DAYS",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub session_ttl: u16,

    /// Participants in a room, at most. A room of 1000 costs its relay 1000 datagrams for every frame that is spoken.
    #[arg(long, env = "CONFAB_CONTROL_MAX_PARTICIPANTS", default_value_t = 1000, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_participants: u32,

    /// Members of a conference, at most, bans included.
    #[arg(
        long,
        env = "CONFAB_CONTROL_MAX_MEMBERS",
        default_value_t = 10_000,
        value_name = "COUNT"
    )]
    pub max_members: u64,

    /// Conferences that an account may own, at most. How many it may be a member of is not limited.
    #[arg(
        long,
        env = "CONFAB_CONTROL_MAX_CONFERENCES",
        default_value_t = 100,
        value_name = "COUNT"
    )]
    pub max_conferences: u64,

    /// Connections that are signed in, at most; one more is told to try again. Each takes about 47 kB of memory while nothing happens,
    /// and 320 kB when its requests never end and its events and answers are not read.
    #[arg(
        long,
        env = "CONFAB_CONTROL_MAX_CONNECTIONS",
        default_value_t = 100_000,
        value_name = "COUNT"
    )]
    pub max_connections: usize,

    /// Connections that are not signed in, at most; one more takes the place of the oldest. Each takes about 42 kB of memory, and 96 kB
    /// when its requests never end.
    #[arg(long, env = "CONFAB_CONTROL_MAX_STRANGERS", default_value_t = 4096, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_strangers: u32,

    /// Connections that are not signed in from one IPv4 address or one IPv6 /64, at most; a /56 has twice as many, a /48 eight times as
    /// many. One more takes the place of the oldest. Those who are signed in do not count. Raise it when all clients come from
    /// one address, as behind some container networks.
    #[arg(long, env = "CONFAB_CONTROL_MAX_STRANGERS_PER_ADDRESS", default_value_t = 256, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_strangers_per_address: u32,

    /// Handshakes that one IPv4 address or one IPv6 /64 may begin at once, and half as many a second from then on; the networks around
    /// it as above. One more is refused. Twice as many are under way in all, 40 kB each. Raise it when all clients come from one
    /// address, or for a load test.
    #[arg(long, env = "CONFAB_CONTROL_HANDSHAKE_BURST", default_value_t = 512, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub handshake_burst: u32,

    /// Passwords that one IPv4 address or one IPv6 /64 may have checked at once, by logging in or registering. Raise it when
    /// many people share an address, or for a load test.
    #[arg(long, env = "CONFAB_CONTROL_LOGIN_BURST", default_value_t = 100, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub login_burst: u32,

    /// Passwords a second that one address may have checked when its burst is spent.
    #[arg(long, env = "CONFAB_CONTROL_LOGIN_RATE", default_value_t = 1.0, value_name = "PER_SECOND",
          value_parser = positive)]
    pub login_rate: f64,

    /// Passwords that are hashed at a time. Default: half as many as there are cores, one at least, so that whoever has passwords checked
    /// leaves the rest to the rooms. Each takes 19 MiB and a core for some 20 ms.
    #[arg(long, env = "CONFAB_CONTROL_ARGON2_PARALLEL", value_name = "COUNT")]
    pub argon2_parallel: Option<std::num::NonZeroU16>,

    /// Passwords that wait to be hashed, at most; one more is told to try again. Longer queues have people wait longer.
    #[arg(
        long,
        env = "CONFAB_CONTROL_ARGON2_QUEUE",
        default_value_t = 64,
        value_name = "COUNT"
    )]
    pub argon2_queue: u16,

    /// TCP address for /metrics (Prometheus), /healthz and /readyz. Without it there are none. Keep it off the public
    /// interface: it tells how many people are there.
    #[arg(long, env = "CONFAB_CONTROL_METRICS", value_name = "ADDRESS:PORT")]
    pub metrics: Option<SocketAddr>,

    /// How much to log, to stderr: error, warn, info, debug or trace. Logs hold no address, e-mail, password or token.
    #[arg(
        long,
        env = "CONFAB_CONTROL_LOG_LEVEL",
        default_value = "info",
        value_name = "LEVEL"
    )]
    pub log_level: tracing::Level,

    /// Log as lines for people or as JSON, one object a line, for programs.
    #[arg(
        long,
        env = "CONFAB_CONTROL_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl ServeFlags {
    /// What the flags say.
    pub fn config(&self) -> Config {
        let own = self.certificate.clone().zip(self.key.clone());
        let half_of_cores = || {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            (cores / 2).max(1)
        };
        Config {
            listen: self.listen,
            data_dir: self.data_dir.clone(),
            store: match &self.store {
                StoreUrl::Sqlite(path) => StoreConfig::Sqlite(path.clone()),
                StoreUrl::Cql(address) => StoreConfig::Cql(self.cql.config(address)),
            },
            node: NodeConfig {
                name: self.node.clone(),
                cluster_address: self.cluster_address.clone(),
                public: self.public_addresses.clone(),
            },
            own_certificate: own.map(|(certificate, key)| OwnCertificate { certificate, key }),
            public_names: self.public_names.clone(),
            region: self.region.clone(),
            accounts: AccountsConfig {
                min_age: self.min_age,
                session_ttl: Duration::from_secs(u64::from(self.session_ttl) * 24 * 60 * 60),
                limits: LoginLimits {
                    burst: self.login_burst,
                    per_second: self.login_rate,
                },
                cost: HashCost::default(),
                parallel: self
                    .argon2_parallel
                    .map_or_else(half_of_cores, |count| count.get().into()),
                queue: self.argon2_queue.into(),
            },
            rooms: RoomLimits {
                max_participants: self.max_participants as usize,
                max_members: self.max_members,
            },
            max_conferences: self.max_conferences,
            connections: ConnectionLimits {
                unauthenticated: SlotLimits {
                    per_source: self.max_strangers_per_address as usize,
                    total: self.max_strangers as usize,
                },
                signed_in: self.max_connections,
            },
            handshakes: self.handshake_burst,
            metrics: self.metrics,
            clock: Clock::System,
        }
    }
}

impl Config {
    /// What `serve` does without any flag, on a free port of 127.0.0.1, with everything in `data_dir`.
    pub fn local(data_dir: impl Into<PathBuf>) -> Self {
        let defaults = Flags::parse_from(["confab-control", "serve"]);
        let Command::Serve(flags) = defaults.command else {
            unreachable!("`serve` was parsed");
        };
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: data_dir.into(),
            ..flags.config()
        }
    }
}

fn positive(text: &str) -> Result<f64, &'static str> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("a number above zero"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Flags::command().debug_assert();
    }
}
