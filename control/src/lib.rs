//! The QUIC control server of Confab: accounts, conferences, membership, live rooms.
//!
//! The modules, from the top down. A module imports those below it, never one above it:
//!
//! * `commands`, [`flags`], [`operator`]: the command line, and what it asks of a cluster that runs;
//! * [`server`]: starts a server and puts its parts together;
//! * [`listener`]: the endpoint, which takes connections in;
//! * [`api`], [`peer_api`]: the requests of clients; those of nodes and operators;
//! * `refusals`: the errors of the services, as clients read them;
//! * [`clients`]: the connected clients;
//! * [`conferences`], [`rooms`], [`accounts`]: who is what in which conference; who is in a conference now; who somebody is;
//! * [`tls`]: the cluster CA and certificates;
//! * [`cluster`]: the relays that carry the media, and the other nodes;
//! * [`store`]: what outlives the process;
//! * [`domain`]: types that the store and the services share;
//! * [`metrics`]: counters; [`close`]: why connections are closed; [`events`]: events for one client;
//! * [`clock`], [`random`], [`inbox`], [`source`], [`throttle`]: tools of all.

pub mod accounts;
pub mod api;
pub mod clients;
pub mod clock;
pub mod close;
pub mod cluster;
pub mod commands;
pub mod conferences;
pub mod domain;
pub mod events;
pub mod flags;
pub mod inbox;
pub mod listener;
pub mod metrics;
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

pub use server::{
    Config, Health, NodeConfig, Running, STATE_FILE, ServeError, SharedStore, StoreConfig,
    TaskLost, WrongStore, serve,
};

/// Name and version of this program, as peers see it.
pub const AGENT: &str = concat!("confab-control/", env!("CARGO_PKG_VERSION"));
