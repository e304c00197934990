//! The QUIC control server of Confab: accounts, conferences, membership, live rooms.
//!
//! The modules, from top to bottom. A module imports only modules below it:
//!
//! * `commands`, [`flags`], [`operator`]: the command line, and the requests of an operator to a running cluster;
//! * [`server`]: starts a server and puts its parts together;
//! * [`listener`]: the endpoint, which accepts connections;
//! * [`api`], [`peer_api`]: requests of clients; requests of nodes and operators;
//! * `refusals`: translates errors of the services for clients;
//! * [`clients`]: the connected clients;
//! * [`conferences`], [`rooms`], [`accounts`]: conferences and memberships; live rooms; accounts and sessions;
//! * [`tls`]: the cluster CA and certificates;
//! * [`cluster`]: relays and other nodes;
//! * [`invitations`]: whether an invitation to a conference is good, and its use;
//! * [`store`]: persistent records;
//! * [`domain`]: types that the store and the services share;
//! * [`audit`]: the audit log; [`webhooks`]: what happens in rooms, told to a program of the operator's; [`mail`]: letters
//!   to the holders of accounts;
//! * [`metrics`]: counters; [`close`]: QUIC error codes of closed connections; [`client_queues`]: what is said to a client;
//! * `causes`, `disk`, `hkdf`, `mutex`, [`clock`], [`random`], [`inbox`], [`source`], [`throttle`]: utilities.

#![forbid(unsafe_code)]

pub mod accounts;
pub mod api;
pub mod audit;
mod causes;
pub mod client_queues;
pub mod clients;
pub mod clock;
pub mod close;
pub mod cluster;
pub mod commands;
pub mod conferences;
mod disk;
pub mod domain;
pub mod flags;
mod hkdf;
pub mod inbox;
pub mod invitations;
pub mod listener;
pub mod mail;
pub mod metrics;
mod mutex;
pub mod operator;
pub mod peer_api;
pub mod random;
mod refusals;
pub mod rooms;
pub mod server;
pub mod source;
pub mod store;
pub mod throttle;
pub mod tls;
pub mod webhooks;

pub use server::{
    AuditConfig, Config, Health, NodeConfig, Running, STATE_FILE, ServeError, SharedStore,
    StoreConfig, TaskLost, WrongStore, serve,
};

/// Name and version of this program, as peers see it.
pub const AGENT: &str = concat!("confab-control/", env!("CARGO_PKG_VERSION"));
