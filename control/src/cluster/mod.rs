//! The relays: which are linked, how loaded they are, and how a room talks to its own.
//!
//! * [`registry`]: who is linked;
//! * [`link`]: one relay's stream: commands out, results and ends of media in;
//! * [`leftovers`]: rooms that a relay has and nobody here knows.

pub mod leftovers;
pub mod link;
pub mod registry;

pub use registry::{LinkedRelay, RelayName, Relays};
