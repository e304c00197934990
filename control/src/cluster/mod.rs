//! Relays and other control nodes: links, load, placement of rooms, and how a room commands its relay.
//!
//! * [`registry`]: the relays by name; `relay`: one relay with its link, its rooms and its leftovers; [`events`]: the events that
//!   a relay sends to rooms;
//! * [`placement`]: chooses a relay for a room; `refusals`: remembers relays that open no sessions;
//! * [`link`]: the control stream of one relay: commands to it, results and ends of media from it;
//! * [`leftovers`]: rooms at a relay that no room of this node owns;
//! * [`revoked`]: revoked identities of relays and nodes;
//! * [`nodes`]: liveness of control nodes, and requests between them;
//! * [`status`]: the state of the cluster, for operators.

pub mod events;
pub mod leftovers;
pub mod link;
pub mod nodes;
pub mod placement;
mod refusals;
pub mod registry;
mod relay;
pub mod revoked;
pub mod status;

/// Time limit for a relay to answer a command.
pub const COMMAND_DEADLINE: std::time::Duration = std::time::Duration::from_secs(2);

pub use events::{RelayEvent, Response};
pub use placement::RelayCriteria;
pub use registry::Relays;
pub use relay::{LimitExceeded, LinkRefused, LinkedRelay, RelayInfo};
