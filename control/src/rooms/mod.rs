//! Live rooms: who is in a conference now, and where its media flows.
//!
//! * [`room`]: routes what happens to the parts of a room, and collects what follows. No I/O: inputs and a clock in, [`effect`]s out.
//! * The parts of a room. Each owns its fields: `membership` with `participant`, `pending_joins` and `departed`: participants,
//!   joins, and those who left; `placement` with `relay_probe`:
//!   the room's relay; `former_relays`: relays that the room has left and that may still have sessions; `lease` with `ownership_check`: the
//!   home in the store, the fence, and lookups whether another node owns the room; `relay_calls`: commands that relays have not answered;
//!   `group`: the delivery service of the room's MLS group;
//!   `requests`: requests that are not acknowledged; `frame_reports`; `outbox`: effects and the revision.
//! * `actor`: the task that owns one room and carries its effects out; `ask` and `tickets`: requests to it, and their answers; `clients`: who hears of the
//!   effects; `home`: reads and writes whose a room is; `admission`: who may come in; [`errors`]: why a request is refused;
//!   [`world`]: what a room asks of its node synchronously; `shared`: what all actors use.
//! * `announced`: who comes and goes, for webhooks; [`guests`]: guests of rooms that have ended;
//! * [`registry`]: finds a conference's room, starts it when it is needed and forgets it when it is over; [`counts`]: participants by conference, on
//!   all nodes; `roster`: who they are, on this node.
//! * `roll_call` and [`adoption`]: who is in a room already that is taken over; `leftovers`: closes what is left over of rooms at relays;
//!   `relay_request`: one command to a relay, outside of a live room.
//! * [`note`]: what a room has its relay keep with each session, sealed; `label`: accounts as relays see them; [`group_keys`]: the key of the
//!   delivery service.

mod actor;
mod admission;
pub mod adoption;
mod announced;
pub mod ask;
mod clients;
pub mod counts;
mod departed;
pub mod effect;
pub mod errors;
mod former_relays;
mod frame_reports;
mod group;
pub mod group_keys;
pub mod guests;
pub mod home;
mod label;
mod lease;
mod leftovers;
mod membership;
pub mod note;
mod outbox;
mod ownership_check;
mod participant;
mod pending_joins;
mod placement;
mod probe_limits;
pub mod registry;
mod relay_calls;
mod relay_probe;
mod relay_request;
mod requests;
mod roll_call;
pub mod room;
mod roster;
mod shared;
mod tickets;
pub mod world;

pub use ask::Outcome;
pub use effect::{Joined, Joiner, OwnJoin, Resume, Settled};
pub use errors::{ChangeError, JoinError, Unavailable};
pub use placement::PLACE_RETRY;
pub use registry::{Join, Rooms};
pub use shared::RoomLimits;

#[cfg(test)]
mod room_tests;
