//! The edge towards the network, in the order of use.
//!
//! * [`fingerprint`]: which authority signed its certificate;
//! * [`trust`]: what has to vouch for it;
//! * `verifier`: whether its certificates are what they have to be;
//! * [`link`]: one QUIC connection: requests, responses, events; `address_tokens`: what spares it a Retry;
//! * `silence`: that its server says nothing any more;
//! * `race`: attempts side by side;
//! * [`nodes`]: which of the server's nodes it goes to;
//! * [`api`]: requests as functions, answers as domain types; `errors`: why they fail;
//! * [`event`]: events as domain types;
//! * [`sign_in`]: a connection that speaks for an account; `fixed_token`: of a bot or a guest;
//! * `retry`: how long to wait before the next try;
//! * `entry`: into the room, to whichever node has it;
//! * [`supervisor`]: a participation that survives its connections;
//! * [`udp`]: the sockets of the media.

mod address_tokens;
pub mod api;
mod entry;
mod errors;
pub mod event;
pub mod fingerprint;
mod fixed_token;
pub mod link;
mod node_list;
pub mod nodes;
mod race;
mod retry;
pub mod sign_in;
mod silence;
pub mod supervisor;
pub mod trust;
pub mod udp;
mod verifier;

#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod recovery_tests;
#[cfg(test)]
mod server_tests;
#[cfg(test)]
mod slow_path;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod trust_tests;

pub use confab_protocol::control::server::{BadServer, Server};
pub use errors::{ApiError, ConnectError};
pub use fingerprint::Fingerprint;
pub use fixed_token::FixedToken;
pub use link::{Link, RegistrationTerms};
pub use nodes::Nodes;
pub use trust::{Remembered, Trust, TrustError};
