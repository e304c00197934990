//! Live rooms: who is in a conference now, and where its media flows.
//!
//! * [`state`]: everything that decides, without I/O: inputs and a clock in, [`effect`]s out;
//! * `actor`: the task that owns one room and carries its effects out; `home`: whose a room is; `admission`: who may come in;
//! * [`registry`]: finds a conference's room, starts it when it is needed and forgets it when it is over;
//! * `roll_call`: who is in a room already that is taken over; `leftovers`: closes what is left over of rooms at relays;
//! * [`secret`]: what the people of a room derive their frame keys from.

mod actor;
mod admission;
pub mod adoption;
mod commands;
mod drain;
pub mod effect;
mod gathering;
pub mod home;
mod leftovers;
mod moves;
mod note;
mod people;
pub mod registry;
mod roll_call;
pub mod secret;
mod silence;
pub mod state;

pub use effect::{Joined, Joiner, Resume};
pub use registry::{Join, RoomLimits, Rooms};

#[cfg(test)]
mod state_tests;
