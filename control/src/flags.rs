//! The flags, on the command line, in the environment or in a file. Doc comments are the help text.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use confab_console::configuration::{Program, ProgramFlags};
use confab_console::values::{PerSecond, duration_within, socket_address, whole_within};
use confab_e2ee::mls::Suite;
use confab_protocol::control::Region;

use crate::accounts::service::{RegistrationPolicy, Required};
use crate::accounts::{AccountsConfig, LoginLimits};
use crate::clients::ConnectionLimits;
use crate::clients::slots::SlotLimits;
use crate::clock::Clock;
use crate::conferences::ConferenceLimits;
use crate::domain::{HashCost, NodeName};
use crate::rooms::RoomLimits;
use crate::server::{AuditConfig, Config, NodeConfig, StoreConfig};
use crate::tls::certificates::OwnCertificate;
use crate::webhooks::target::{WebhookSecret, WebhookTarget, WebhookUrl};

mod admin;
mod data_dir;
mod identities;
mod mail;
mod operator;
mod relay;
mod store;

pub use admin::{
    AccountFlags, AddFlags, BotFlags, ConferencesCommand, ConfirmFlags, CreateConferenceFlags,
    DeleteAccountFlags, DeleteConferenceFlags, ListFlags, ListRoomsFlags, MessageFlags,
    NewPasswordFlags, ResetFlags, RoomsCommand, SlugFlags, TransferFlags, UsersCommand,
};
pub use identities::{
    ClusterKeysFlags, FingerprintFlags, NodeIdentityFlags, OperatorIdentityFlags,
    RelayIdentityFlags,
};
pub use mail::MailFlags;
pub use operator::{AdminFlags, DrainFlags, OperatorFlags, RevokeNodeFlags, RevokeRelayFlags};
pub use relay::RelayFlags;
pub use store::{CqlFlags, StorePassword, StoreUrl};

/// A client refreshes its session when it connects.
const SHORTEST_SESSION: Duration = Duration::from_secs(60 * 60);
const LONGEST_SESSION: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// The control server of Confab: accounts, conferences and live rooms over QUIC.
#[derive(Parser, Debug)]
#[command(name = "confab-control", version)]
pub struct Flags {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

impl ProgramFlags for Flags {
    const PROGRAM: Program = Program {
        name: "confab-control",
        unwritten: 1,
        typed_only: &[
            ("yes", "answers a question that is asked each time"),
            ("with-conferences", "is decided for each account"),
        ],
        tables: &[("check", "serve")],
        own_file: None,
    };
}

/// The command to run.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Runs the server until SIGTERM or SIGINT; a second signal ends it at once. SIGHUP reloads its certificates.
    Serve(Box<ServeFlags>),
    /// Looks for what keeps `serve` with the same flags from starting, from going on or from being reached: ports, disk, descriptors,
    /// clock, keys, certificates, store, names. Changes nothing. Exits with status 1 if something is to be corrected.
    Check(Box<ServeFlags>),
    /// Issues an identity for a relay: relay.crt, relay.key and ca.crt. Copy the folder to the relay's machine. The key lets its
    /// holder carry the media of every room.
    RelayIdentity(RelayIdentityFlags),
    /// Issues an identity for a control node that runs without ca.key: node.crt, node.key, server.crt and server.key, with
    /// ca.crt, token.key and server.id. Copy the folder to the node's machine, as its data folder.
    NodeIdentity(NodeIdentityFlags),
    /// Issues an identity for operators' commands (status, drain, revoke-…) on a machine without ca.key: operator.crt,
    /// operator.key and ca.crt. Its holder may drain relays and revoke identities.
    OperatorIdentity(OperatorIdentityFlags),
    /// Copies the files that all control nodes of a cluster share: ca.crt, token.key and server.id; with --ca-key also ca.key, so
    /// that the node issues its own identity. Copy the folder to the node's machine, as its data folder. The holder of ca.key can
    /// impersonate any node and any relay.
    ClusterKeys(ClusterKeysFlags),
    /// Prints the fingerprint of the cluster CA, which clients pin.
    Fingerprint(FingerprintFlags),
    /// Shows the state of the nodes and relays of a running cluster.
    Status(AdminFlags),
    /// Lists, shows, makes, disables and deletes accounts, and resets their passwords.
    #[command(subcommand)]
    Users(UsersCommand),
    /// Lists, shows and deletes conferences, and gives them to other owners.
    #[command(subcommand)]
    Conferences(ConferencesCommand),
    /// Lists, shows and ends live rooms.
    #[command(subcommand)]
    Rooms(RoomsCommand),
    /// Shows a line to everybody who is connected, such as `restart at 22:00, back two minutes later`.
    Message(MessageFlags),
    /// Drains a relay: its rooms move to other relays, and it gets no new ones. Waits until it has no sessions. Exits with status
    /// 1 if sessions are left, 4 if there is no such relay and 6 if no node answers.
    Drain(DrainFlags),
    /// Revokes all identities of a relay issued until now, at all nodes, within seconds. An identity that `relay-identity` issues
    /// later under the same name is valid.
    RevokeRelay(RevokeRelayFlags),
    /// Revokes all identities of a control node issued until now, at all other nodes, within seconds. An identity that
    /// `node-identity` issues later under the same name is valid.
    /// Connect to another node than this one with --node.
    RevokeNode(RevokeNodeFlags),
}

/// Flags of `serve`.
#[derive(Args, Debug)]
pub struct ServeFlags {
    /// UDP address to listen on (QUIC). The IPv6 address of all zeros also accepts IPv4; port 0 selects a free port. Change it
    /// when the port is in use or only one interface should be served.
    #[arg(long, default_value = "[::]:4433", value_name = "ADDRESS:PORT", value_parser = socket_address)]
    pub listen: SocketAddr,

    /// Folder for keys, certificates and the embedded store; created when missing. Back it up: without it the cluster CA and,
    /// without another store, all accounts are lost.
    #[arg(long, default_value = "confab-data", value_name = "FOLDER")]
    pub data_dir: PathBuf,

    /// Store of accounts and conferences: `sqlite` for confab.sqlite in the data folder, `sqlite:PATH` for a file on another
    /// disk, or `cql://HOST:PORT,HOST:PORT/KEYSPACE` for ScyllaDB or Cassandra. A SQLite file serves one control node; several
    /// nodes that share a database form one cluster.
    #[arg(long, default_value = "sqlite", value_name = "URL")]
    pub store: StoreUrl,

    /// Name of this node in its cluster: 1 to 32 of a-z, 0-9 and '-'. Default: the machine's name and the port. Set it when the
    /// machine's name changes between starts.
    #[arg(long, value_name = "NAME")]
    pub node: Option<NodeName>,

    /// Address at which other nodes reach this one. Default: the first --public-address. Set it when they should use an internal
    /// network.
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_parser = operator::host_and_port
    )]
    pub cluster_address: Option<String>,

    /// Address at which clients reach this node and no other; given to clients whose room is here. May be repeated, or separated
    /// by commas. Default: each --public-name, or the address of --listen, with its port. Set it behind a load balancer or a NAT.
    #[arg(
        long = "public-address",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        value_parser = operator::host_and_port
    )]
    pub public_addresses: Vec<String>,

    /// Region of this node, by the names that relays use: rooms whose first participant connects here are placed there.
    #[arg(long, value_name = "NAME")]
    pub region: Option<Region>,

    #[command(flatten)]
    pub cql: CqlFlags,

    #[command(flatten)]
    pub relay: RelayFlags,

    /// PEM file with a certificate chain to present to clients. Default: a certificate of the cluster CA, whose fingerprint
    /// clients pin. With one of a public CA clients need to pin nothing. Relays always get the cluster's. Reloaded at SIGHUP.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,

    /// PEM file with the private key of --certificate.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,

    /// DNS name or IP address by which clients reach this server, added to the cluster's certificate beside localhost and this
    /// machine's name. May be repeated, or separated by commas.
    #[arg(long = "public-name", value_name = "NAME", value_delimiter = ',')]
    pub public_names: Vec<String>,

    /// Who may make an account: everybody, whoever has an invitation of a conference's owner or moderator (`confab conference invite
    /// --link`), or nobody but you (`confab-control users add`). Set it before strangers find the server.
    #[arg(long, default_value = "open", value_name = "WHO")]
    pub registration: Registration,

    /// Let people in as guests, without an account (`confab join LINK --guest NAME`): into a public conference, or by an invitation. Each is
    /// shown as a guest, may only be in that conference, and is forgotten when it leaves, or after a day.
    #[arg(long)]
    pub guests: bool,

    /// Who may create conferences: all accounts, or only you, by `confab-control conferences create`.
    #[arg(long, default_value = "members", value_name = "WHO")]
    pub create: Creators,

    /// Minimum age to register, in years. Set it to what the law requires where your users live.
    #[arg(long, default_value_t = 12, value_name = "YEARS")]
    pub min_age: u8,

    /// What a registration need not say: email, birthday, or both. May be repeated, or separated by commas. Without a birthday nobody's
    /// age is checked, and without an address nobody can be told of a lost password: for a server among friends.
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    pub optional: Vec<OptionalField>,

    /// Lifetime of a session after its last refresh, 1h to 3650d. With a shorter one users log in more often; with a longer one a
    /// lost device stays signed in.
    #[arg(long, default_value = "30d", value_name = "TIME", value_parser = duration_within(SHORTEST_SESSION..=LONGEST_SESSION))]
    pub session_ttl: Duration,

    /// Maximum number of participants in a room. A room of 1000 costs its relay 1000 datagrams for every voice frame.
    #[arg(long, default_value_t = 1000, value_name = "COUNT",
          value_parser = whole_within(1_u32..=10_000))]
    pub max_participants: u32,

    /// Maximum number of members of a conference, including banned accounts.
    #[arg(long, default_value_t = 10_000, value_name = "COUNT")]
    pub max_members: u64,

    /// Maximum number of conferences that an account owns. The number of memberships is not limited.
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    pub max_conferences: u64,

    /// Maximum number of signed-in connections; further ones are told to try again. Each takes about 47 kB of memory when idle,
    /// and 320 kB when its requests never end and its events and responses are not read.
    #[arg(long, default_value_t = 100_000, value_name = "COUNT")]
    pub max_connections: usize,

    /// Maximum number of connections that are not signed in; a further one evicts the oldest. Each takes about 42 kB of memory,
    /// and 96 kB when its requests never end.
    #[arg(long, default_value_t = 4096, value_name = "COUNT",
          value_parser = whole_within(1_u32..=u32::MAX))]
    pub max_strangers: u32,

    /// Maximum number of connections that are not signed in from one IPv4 address or one IPv6 /64; a /56 has twice, a /48 eight
    /// times as many. A further one evicts the oldest. Signed-in connections do not count. Raise it when all clients come from
    /// one address, as behind some container networks.
    #[arg(long, default_value_t = 256, value_name = "COUNT",
          value_parser = whole_within(1_u32..=u32::MAX))]
    pub max_strangers_per_address: u32,

    /// Number of handshakes that one IPv4 address or one IPv6 /64 may begin at once; half as many per second after that; the
    /// networks around it as above. Further ones are refused. Twice as many may be in progress in all, 40 kB each. Raise it when
    /// all clients come from one address, or for a load test.
    #[arg(long, default_value_t = 512, value_name = "COUNT",
          value_parser = whole_within(1_u32..=u32::MAX))]
    pub handshake_burst: u32,

    /// Number of passwords from one IPv4 address or one IPv6 /64 that are checked at once, at log-in or registration. Raise it
    /// when many users share an address, or for a load test.
    #[arg(long, default_value_t = 100, value_name = "COUNT",
          value_parser = whole_within(1_u32..=u32::MAX))]
    pub login_burst: u32,

    /// Passwords from one address that are checked after the burst, as 1/s or 30/m.
    #[arg(long, default_value_t = PerSecond(1.0), value_name = "RATE")]
    pub login_rate: PerSecond,

    /// Use MLS cipher suite 0x0001 in all rooms, whose keys a quantum computer could find from a recording: to try clients that have
    /// no other suite. `confab join` refuses it without --allow-classical. Default: 0x004F, ML-KEM-768 with X25519, in rooms of
    /// up to 256 participants.
    #[arg(long)]
    pub classical_groups: bool,

    /// Number of passwords hashed at a time. Default: half the number of cores, at least one, so that password checks leave the
    /// other cores to the rooms. Each takes 19 MiB and a core for about 20 ms.
    #[arg(long, value_name = "COUNT")]
    pub argon2_parallel: Option<std::num::NonZeroU16>,

    /// Maximum number of passwords that wait to be hashed; further ones are told to try again. A longer queue means longer waits.
    #[arg(long, default_value_t = 64, value_name = "COUNT")]
    pub argon2_queue: u16,

    /// TCP address for /metrics (Prometheus), /healthz and /readyz. Without it there are none. Keep it off the public interface:
    /// it shows the number of users.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = socket_address)]
    pub metrics: Option<SocketAddr>,

    /// File to which sign-ins, moderation and operators' acts are appended, one JSON object a line, without addresses. While it cannot be
    /// written operators' acts are refused. Opened again at SIGHUP, after it was renamed. Default: none.
    #[arg(long, value_name = "FILE")]
    pub audit_log: Option<PathBuf>,

    /// Add clients' IP addresses to the audit log, and e-mail addresses that were typed at log-in.
    #[arg(long)]
    pub audit_addresses: bool,

    /// URL of a program that is told by POST when a room starts and ends, and when somebody joins and leaves it, signed as Standard
    /// Webhooks says. A message that is not taken is repeated for some minutes. Default: none.
    #[arg(long, value_name = "URL", requires = "webhook_secret")]
    pub webhook: Option<WebhookUrl>,

    /// The secret by which the program of --webhook knows that a message is this server's: `whsec_` and 24 to 64 random bytes in base64.
    /// Better in a file: CONFAB_CONTROL_WEBHOOK_SECRET_FILE.
    #[arg(
        long,
        value_name = "SECRET",
        requires = "webhook",
        hide_env_values = true
    )]
    pub webhook_secret: Option<WebhookSecret>,

    #[command(flatten)]
    pub mail: MailFlags,

    /// Log level, to stderr: error, warn, info, debug or trace. Logs contain no address, e-mail, password or token.
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    pub log_level: tracing::Level,

    /// Log as text lines, or as JSON with one object per line.
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// Who may make an account.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registration {
    /// Everybody.
    Open,
    /// Who has an invitation.
    Invite,
    /// The operator.
    Closed,
}

/// Who may create conferences.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Creators {
    /// All accounts.
    Members,
    /// The operators.
    Operators,
}

/// What a registration need not say.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum OptionalField {
    /// The e-mail address.
    Email,
    /// The day of birth.
    Birthday,
}

/// Format of log lines.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// Text lines.
    Text,
    /// JSON, one object per line.
    Json,
}

impl ServeFlags {
    /// The configuration that the flags describe.
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
            audit: self.audit_log.clone().map(|path| AuditConfig {
                path,
                addresses: self.audit_addresses,
            }),
            webhook: self
                .webhook
                .clone()
                .zip(self.webhook_secret.clone())
                .map(|(url, secret)| WebhookTarget { url, secret }),
            mail: self.mail.target(&self.public_names, self.listen),
            region: self.region.clone(),
            accounts: AccountsConfig {
                registration: match self.registration {
                    Registration::Open => RegistrationPolicy::Open,
                    Registration::Invite => RegistrationPolicy::ByInvitation,
                    Registration::Closed => RegistrationPolicy::Closed,
                },
                guests: self.guests,
                min_age: self.min_age,
                required: Required {
                    email: !self.optional.contains(&OptionalField::Email),
                    birthday: !self.optional.contains(&OptionalField::Birthday),
                },
                session_ttl: self.session_ttl,
                limits: LoginLimits {
                    burst: self.login_burst,
                    per_second: self.login_rate.0,
                },
                cost: HashCost::default(),
                parallel: self
                    .argon2_parallel
                    .map_or_else(half_of_cores, |count| count.get().into()),
                queue: self.argon2_queue.into(),
            },
            group_suite: match self.classical_groups {
                true => Suite::Classical,
                false => Suite::PostQuantum,
            },
            rooms: RoomLimits {
                max_participants: self.max_participants as usize,
                max_members: self.max_members,
            },
            conferences: ConferenceLimits {
                by_accounts: self.create == Creators::Members,
                max_owned: self.max_conferences,
            },
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
    /// The configuration of `serve` without flags, but on a free port of 127.0.0.1 and with all files in `data_dir`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Flags::command().debug_assert();
    }
}
