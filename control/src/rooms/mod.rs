//! Live rooms: who is in a conference now, and where its media flows.
//!
//! * [`state`]: everything that decides, without I/O: inputs and a clock in, [`effect`]s out;
//! * `actor`: the task that owns one room and carries its effects out; `home`: whose a room is; `admission`: who may come in;
//! * [`registry`]: finds a conference's room, starts it when it is needed and forgets it when it is over;
//! * `leftovers`: closes what is left over of rooms at relays.

mod actor;
mod admission;
mod commands;
pub mod effect;
pub mod home;
mod leftovers;
mod moves;
mod note;
mod people;
pub mod registry;
pub mod state;

pub use effect::{Joined, Joiner};
pub use registry::{Join, RoomLimits, Rooms};

#[cfg(test)]
mod state_tests;
