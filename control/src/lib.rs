//! The QUIC control server of Confab: accounts, conferences, membership, live rooms.
//!
//! The rooms of this house, in the order in which a request flows through them:
//!
//! * [`tls`], [`api`] and [`peer_api`]: the endpoint, its connections, and the requests of clients, nodes and operators;
//! * [`accounts`]: who somebody is;
//! * [`conferences`]: who is what in which conference;
//! * [`rooms`]: who is in a conference now;
//! * [`cluster`]: the relays that carry the media;
//! * [`store`]: what outlives the process;
//! * [`metrics`]: what is counted.
//!
//! [`serve`] runs all of it; [`flags`] is the command line, [`operator`] what it asks of a cluster that runs.

pub mod accounts;
pub mod api;
pub mod clock;
pub mod cluster;
pub mod commands;
pub mod conferences;
pub mod events;
pub mod flags;
pub mod inbox;
pub mod metrics;
pub mod operator;
pub mod peer_api;
pub mod random;
pub mod rooms;
mod running;
pub mod source;
pub mod store;
pub mod throttle;
pub mod tls;

pub use running::{
    Config, Health, NodeConfig, Running, STATE_FILE, ServeError, Server, SharedStore, StoreConfig,
    TaskLost, WrongStore, serve,
};

/// Name and version of this program, as peers see it.
pub const AGENT: &str = concat!("confab-control/", env!("CARGO_PKG_VERSION"));
