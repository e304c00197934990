//! The statements of each request to a CQL database without contention. Counted in `control/src/store/cql/` and in what calls
//! it.

/// Statements of a request.
#[derive(Debug, Clone, Copy)]
pub struct Statements {
    pub name: &'static str,
    pub reads: f64,
    pub writes: f64,
    /// Reads at SERIAL: a round of Paxos each, as a conditional write.
    pub serial_reads: f64,
    pub conditional: f64,
}

impl Statements {
    const fn new(name: &'static str, [reads, writes, serial_reads, conditional]: [f64; 4]) -> Self {
        Self {
            name,
            reads,
            writes,
            serial_reads,
            conditional,
        }
    }
}

/// A new account with its first session. Writes: the journal's note and its end, the place in the list of sessions.
/// Conditional: both names, the account, the session.
pub const REGISTER: Statements = Statements::new("register", [8.0, 3.0, 0.0, 4.0]);
/// A session by password.
pub const LOG_IN: Statements = Statements::new("log in", [8.0, 1.0, 0.0, 1.0]);
/// By a token: the session twice, the account.
pub const AUTHENTICATE: Statements = Statements::new("authenticate", [3.0, 0.0, 0.0, 0.0]);
/// A token that is shown for the first time.
pub const MARK_USED: Statements = Statements::new("mark a token used", [1.0, 0.0, 0.0, 1.0]);
/// A token is exchanged: once in an hour of being connected.
pub const REFRESH: Statements = Statements::new("refresh", [4.0, 1.0, 0.0, 1.0]);
/// Into a room that is live at this node: slug, conference twice, standing.
pub const JOIN: Statements = Statements::new("join", [4.0, 0.0, 0.0, 0.0]);
/// The room is another node's: slug, conference and home are read here; there the client signs in first.
pub const REDIRECT: Statements = Statements::new("redirect", [5.0, 0.0, 1.0, 0.0]);
/// A room from its beginning to its end: home read, taken, place written, let go.
pub const OPEN_ROOM: Statements = Statements::new("open a room", [0.0, 0.0, 1.0, 3.0]);
pub const LEAVE: Statements = Statements::new("leave", [2.0, 0.0, 0.0, 0.0]);
/// Into a public conference for the first time: its members are counted in eight buckets, both ends looked at before and
/// after, a place in the list and a standing written.
pub const BECOME_MEMBER: Statements = Statements::new("become a member", [13.0, 0.0, 0.0, 2.0]);
/// The journal's note and its end; slug, place in the list, standing, conference.
pub const CREATE_CONFERENCE: Statements =
    Statements::new("create a conference", [3.0, 2.0, 0.0, 4.0]);
