//! Domain types that the store and the services share. They know neither.
//!
//! * `names`: relays, control nodes, and their names in certificates;
//! * `password`: a password's hash, and the cost of one.

mod names;
mod password;

pub use names::{
    BadNodeName, BadPeer, BadRelayName, NODE_DOMAIN, NodeName, OPERATOR_NAME, Peer, RELAY_DOMAIN,
    RelayName,
};
pub use password::{HashCost, PasswordHash};
