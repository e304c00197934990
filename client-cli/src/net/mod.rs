//! The edge towards the network, in the order of use.
//!
//! * [`server`]: where the server is;
//! * [`trust`]: whether it is the one it should be;
//! * [`link`]: one QUIC connection: requests, responses, events;
//! * `race`: attempts side by side;
//! * [`nodes`]: which of the server's nodes it goes to;
//! * [`api`]: requests as functions, answers as domain types;
//! * [`event`]: events as domain types;
//! * [`sign_in`]: a connection that speaks for an account;
//! * `retry`: how long to wait before the next try;
//! * `entry`: into the room, to whichever node has it;
//! * [`supervisor`]: a participation that survives its connections;
//! * [`udp`]: the sockets of the media.

pub mod api;
mod entry;
pub mod event;
pub mod link;
pub mod nodes;
mod race;
mod retry;
pub mod server;
pub mod sign_in;
pub mod supervisor;
pub mod trust;
pub mod udp;

#[cfg(test)]
mod recovery_tests;
#[cfg(test)]
mod server_tests;
#[cfg(test)]
mod testing;

pub use api::ApiError;
pub use link::{ConnectError, Link};
pub use nodes::Nodes;
pub use server::Server;
pub use trust::{Fingerprint, Trust, TrustError};
