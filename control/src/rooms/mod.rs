//! Live rooms: who is in a conference now, and where its media flows.
//!
//! * [`room`]: routes what happens to the parts of a room, and collects what follows. No I/O: inputs and a clock in, [`effect`]s out.
//! * The parts of a room. Each owns its fields: `membership` with `pending_joins`: participants and joins; `placement` with `relay_probe`:
//!   the room's relay; `former_relays`: relays that the room has left and that may still have sessions; `lease` with `ownership_check`: the
//!   home in the store, the fence, and lookups whether another node owns the room; `relay_calls`: commands that relays have not answered;
//!   `requests`: requests that are not acknowledged; `frame_reports`; `outbox`: effects and the revision.
//! * `actor`: the task that owns one room and carries its effects out; `clients`: who hears of them; `home`: reads and writes whose a
//!   room is; `admission`: who may come in; `refusals`: what those are told who may not.
//! * [`registry`]: finds a conference's room, starts it when it is needed and forgets it when it is over; [`counts`]: participants by conference.
//! * `roll_call` and [`adoption`]: who is in a room already that is taken over; `leftovers`: closes what is left over of rooms at relays.
//! * [`note`]: what a room has its relay keep with each session, sealed; `secret`: what is derived from the room's secret.

mod actor;
mod admission;
pub mod adoption;
mod clients;
pub mod counts;
pub mod effect;
mod former_relays;
mod frame_reports;
pub mod home;
mod lease;
mod leftovers;
mod membership;
pub mod note;
mod outbox;
mod ownership_check;
mod pending_joins;
mod placement;
mod probe_limits;
mod refusals;
pub mod registry;
mod relay_calls;
mod relay_probe;
mod requests;
mod roll_call;
pub mod room;
mod secret;

pub use effect::{Joined, Joiner, OwnJoin, Resume};
pub use registry::{Join, RoomLimits, Rooms, Settled};

#[cfg(test)]
mod room_tests;
