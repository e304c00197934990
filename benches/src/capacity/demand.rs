//! The demand of a day on control, its database and the network: arithmetic.

use super::Assumptions;
use super::day::{Day, Rates};
use super::statements::{self, Statements};

/// A person becomes a member of so many conferences in a day. A guess.
const NEW_MEMBERSHIPS: f64 = 0.05;
/// A person makes so many conferences in a day. A guess.
const NEW_CONFERENCES: f64 = 0.01;
/// A person logs in with a password so many times in a day: a session lives for 30 days, and some are lost. A guess.
const LOG_INS: f64 = 0.05;
/// A person starts the client so many times in a day. A guess.
const STARTS: f64 = 2.0;
/// Days of a month.
const MONTH_DAYS: f64 = 30.0;
/// Seconds of a day.
const DAY_S: f64 = 86_400.0;

/// Bytes on the wire of a sign of life between client and control with its acknowledgement: two QUIC packets of some 30 bytes,
/// with UDP and IPv4.
const KEEP_ALIVE_BYTES: f64 = 2.0 * 60.0;
/// Seconds between two of them: `KEEP_ALIVE` of client-cli/src/net/link.rs.
const KEEP_ALIVE_S: f64 = 2.0;
/// Bytes of a request with its answer, packets and acknowledgements included, without the participants of a room.
const REQUEST_BYTES: f64 = 500.0;
/// Bytes of a handshake, X25519MLKEM768 and the certificates included, both ways.
const HANDSHAKE_BYTES: f64 = 8_000.0;
/// Bytes of an event about a participant, and of a participant in the answer to a join.
const PARTICIPANT_BYTES: f64 = 100.0;
/// Bytes of a load report with its acknowledgement.
const REPORT_BYTES: f64 = 150.0;
/// Highest planned share of a network.
const NETWORK_SHARE: f64 = 0.5;
/// Control nodes stay below this share of their cores.
const NODE_BUSY: f64 = 0.5;

/// Rates of events.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Statements that it sends to the database.
    pub statements: Statements,
    /// By a person, on a day on which it talks.
    pub per_user_day: f64,
    /// In all, in a second, at the busiest.
    pub per_s: f64,
}

#[derive(Debug, Clone)]
pub struct Demand {
    /// Requests, and what they send to the database.
    pub rows: Vec<Row>,
    /// Requests of a person on a day.
    pub requests_per_user_day: f64,
    /// Bytes between a person and control on a day, voice apart.
    pub control_bytes_per_user_day: f64,
    /// Bytes that a person is sent by relays on a day.
    pub voice_bytes_per_user_day: f64,
    /// Heartbeats, and looks at them, in a second.
    pub heartbeats_per_s: f64,
    /// Links between control nodes and relays.
    pub links: u64,
    /// Load reports in a second at each node.
    pub reports_per_s: f64,
    /// Load reports, in bytes a second.
    pub report_bytes_per_s: f64,
    /// Datagrams that a person is sent in a second, at the busiest.
    pub datagrams_per_person: f64,
    /// Bits a second that all relays send, at the busiest moment.
    pub egress_bits: f64,
    /// Storage of one replica, in bytes.
    pub storage: f64,
    /// Relays that it takes.
    pub relays: Relays,
    /// Control nodes that it takes for their memory.
    pub nodes_by_memory: f64,
    /// The same for their processor time.
    pub nodes_by_cores: f64,
    /// Cores of control that it takes.
    pub cores: Cores,
    /// Database nodes that it takes for their conditional writes.
    pub database_nodes: f64,
}

/// Relays that it takes when each region has enough for its own busiest hour.
#[derive(Debug, Clone, Copy, Default)]
pub struct Relays {
    /// With one to spare in each region.
    pub all: u32,
    /// If processor time alone decided.
    pub by_cores: u32,
    /// If the network alone decided.
    pub by_network: u32,
    /// If sessions alone decided.
    pub by_sessions: u32,
}

/// Cores of all control nodes, at the busiest.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    pub joins: f64,
    /// For connections on which nothing happens.
    pub idle: f64,
    pub passwords: f64,
}

impl Demand {
    pub fn of(assumed: &Assumptions, day: &Day) -> Self {
        let rows = rows(assumed, day);
        let users = assumed.daily as f64;
        let (people, nodes) = (f64::from(assumed.people), f64::from(assumed.nodes));
        let relays = f64::from(assumed.relays);
        let requests: f64 = rows.iter().map(|row| row.per_user_day).sum();
        let talks_s = day.mean_people * DAY_S / users;
        let handshakes = STARTS + of(&rows, &statements::REDIRECT, |row| row.per_user_day);
        // Each one who comes is told of those who are there, and they of it; when it goes they are told again.
        let told = day.total.events / users * 1.5;
        let datagrams = day.before.datagrams_per_s() as f64;
        let per_person = datagrams / day.before.people.max(1) as f64;
        let frame_bytes = f64::from(assumed.frame_bytes);
        let per_s = |statements| of(&rows, statements, |row| row.per_s);
        let passwords = per_s(&statements::LOG_IN) + per_s(&statements::REGISTER);
        let cores = Cores {
            joins: per_s(&statements::JOIN) / assumed.joins_per_s_core,
            idle: people * assumed.idle_us_per_s / 1e6,
            passwords: passwords / assumed.logins_per_s_core,
        };
        let node_cores = f64::from(assumed.node_cores) * NODE_BUSY;
        let conditional: f64 = rows.iter().map(Row::conditional_per_s).sum();
        Self {
            requests_per_user_day: requests,
            control_bytes_per_user_day: talks_s / KEEP_ALIVE_S * KEEP_ALIVE_BYTES
                + handshakes * HANDSHAKE_BYTES
                + told * PARTICIPANT_BYTES
                + requests * REQUEST_BYTES,
            voice_bytes_per_user_day: talks_s * per_person * frame_bytes,
            heartbeats_per_s: 2.0 * nodes,
            links: u64::from(assumed.nodes) * u64::from(assumed.relays),
            reports_per_s: relays,
            report_bytes_per_s: nodes * relays * REPORT_BYTES,
            datagrams_per_person: per_person,
            egress_bits: datagrams * frame_bytes * 8.0,
            storage: assumed.accounts as f64 * assumed.bytes_per_user,
            relays: Relays::of(assumed, day),
            nodes_by_memory: people / (assumed.connections_per_gb * assumed.node_gb),
            nodes_by_cores: (cores.joins + cores.idle + cores.passwords) / node_cores,
            cores,
            // What one node with one replica does is done by as many nodes as there are replicas.
            database_nodes: conditional * f64::from(assumed.replicas) / assumed.conditional_per_s,
            rows,
        }
    }

    /// Conditional writes and reads at SERIAL in a second, at the busiest.
    pub fn conditional_per_s(&self) -> f64 {
        self.rows.iter().map(Row::conditional_per_s).sum()
    }

    /// Plain reads in a second, at the busiest.
    pub fn reads_per_s(&self) -> f64 {
        let reads = self.rows.iter().map(|row| row.per_s * row.statements.reads);
        reads.sum::<f64>() + self.heartbeats_per_s / 2.0
    }

    /// Plain writes in a second, at the busiest.
    pub fn writes_per_s(&self) -> f64 {
        let writes = self
            .rows
            .iter()
            .map(|row| row.per_s * row.statements.writes);
        writes.sum::<f64>() + self.heartbeats_per_s / 2.0
    }
}

impl Row {
    fn conditional_per_s(&self) -> f64 {
        self.per_s * (self.statements.conditional + self.statements.serial_reads)
    }
}

fn of(rows: &[Row], statements: &Statements, what: impl Fn(&Row) -> f64) -> f64 {
    let row = rows
        .iter()
        .find(|row| row.statements.name == statements.name);
    row.map_or(0.0, what)
}

fn rows(assumed: &Assumptions, day: &Day) -> Vec<Row> {
    let users = assumed.daily as f64;
    let nodes = f64::from(assumed.nodes);
    // What people do all day long swings as their joins do.
    let swing = day.busiest.joins * DAY_S / day.total.joins;
    let by_users = |statements, per_user_day: f64| Row {
        statements,
        per_user_day,
        per_s: per_user_day * users * swing / DAY_S,
    };
    let by_day = |statements, of: fn(&Rates) -> f64, share: f64| Row {
        statements,
        per_user_day: of(&day.total) * share / users,
        per_s: of(&day.busiest) * share,
    };
    // Scope room it is is the node of the one who came first; the others are connected to any node.
    let redirected = (1.0 - day.total.openings / day.total.joins) * (nodes - 1.0) / nodes;
    let refresh = Row {
        statements: statements::REFRESH,
        per_user_day: day.mean_people * 24.0 / users,
        per_s: f64::from(assumed.people) / 3600.0,
    };
    let new_accounts = assumed.new_accounts as f64 / MONTH_DAYS / users;
    vec![
        by_users(statements::REGISTER, new_accounts),
        by_users(statements::LOG_IN, LOG_INS),
        by_users(statements::AUTHENTICATE, STARTS),
        by_users(statements::MARK_USED, STARTS),
        refresh,
        by_day(statements::JOIN, |rates| rates.joins, 1.0),
        by_day(statements::REDIRECT, |rates| rates.joins, redirected),
        by_day(statements::OPEN_ROOM, |rates| rates.openings, 1.0),
        by_day(statements::LEAVE, |rates| rates.joins, 1.0),
        by_users(statements::BECOME_MEMBER, NEW_MEMBERSHIPS),
        by_users(statements::CREATE_CONFERENCE, NEW_CONFERENCES),
    ]
}

impl Relays {
    fn of(assumed: &Assumptions, day: &Day) -> Self {
        let cores = f64::from(assumed.workers) * assumed.target_busy / 100.0;
        let bits = assumed.nic_gbit * 1e9 * NETWORK_SHARE;
        let sessions = f64::from(assumed.max_sessions) * assumed.target_busy / 100.0;
        let mut relays = Self::default();
        for peak in &day.peaks {
            let egress = peak.datagrams_per_s as f64 * f64::from(assumed.frame_bytes) * 8.0;
            let by_cores = (peak.cores / cores).ceil() as u32;
            let by_network = (egress / bits).ceil() as u32;
            let by_sessions = (peak.sessions as f64 / sessions).ceil() as u32;
            relays.by_cores += by_cores;
            relays.by_network += by_network;
            relays.by_sessions += by_sessions;
            relays.all += by_cores.max(by_network).max(by_sessions) + 1;
        }
        relays
    }
}
