//! Domain types that the store and the services share. They import neither.
//!
//! * `names`: names of relays, control nodes and peers;
//! * `password`: password hashes and their cost.

mod names;
mod password;

pub use names::{
    BadNodeName, BadPeer, BadRelayName, NODE_DOMAIN, NodeName, OPERATOR_NAME, Peer, RELAY_DOMAIN,
    RelayName,
};
pub use password::{HashCost, PasswordHash};
