//! The relays: which are linked, how loaded they are, and how a room talks to its own.
//!
//! * [`names`]: what relays and control nodes are called;
//! * [`registry`]: who is linked;
//! * [`link`]: one relay's stream: commands out, results and ends of media in;
//! * [`leftovers`]: rooms that a relay has and nobody here knows.

pub mod leftovers;
pub mod link;
pub mod names;
pub mod registry;

pub use names::{BadNodeName, BadRelayName, NODE_DOMAIN, NodeName, RELAY_DOMAIN, RelayName};
pub use registry::{LinkedRelay, Relays};
