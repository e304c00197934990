//! The relays, which are linked, how loaded they are, and how a room talks to its own; and the other control nodes.
//!
//! * [`registry`]: the relays by name; `relay`: one of them, its link, its rooms and its leftovers; [`events`]: what rooms are told of it;
//! * [`placement`]: which of them a room goes to; `refusals`: which of them open no sessions;
//! * [`link`]: one relay's stream: commands out, results and ends of media in;
//! * [`leftovers`]: rooms that a relay has and nobody here knows;
//! * [`revoked`]: identities of relays and nodes that are not good any more;
//! * [`nodes`]: control nodes among themselves;
//! * [`status`]: how all of it goes, for operators.

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

/// Time for a relay to answer a command.
pub const COMMAND_DEADLINE: std::time::Duration = std::time::Duration::from_secs(2);

pub use events::{RelayEvent, Response};
pub use placement::RelayWish;
pub use registry::Relays;
pub use relay::{LinkedRelay, RelayInfo, TooMuch};
