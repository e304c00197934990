//! Live rooms: who is in a conference now, and where its media flows.
//!
//! * [`room`]: everything that decides, without I/O: inputs and a clock in, [`effect`]s out;
//! * `actor`: the task that owns one room and carries its effects out; `clients`: who hears of them; `home`: whose a room is;
//!   `admission`: who may come in;
//! * [`registry`]: finds a conference's room, starts it when it is needed and forgets it when it is over;
//! * `roll_call`: who is in a room already that is taken over; `leftovers`: closes what is left over of rooms at relays;
//! * [`note`]: what a room has its relay keep with each session, sealed; `secret`: what is derived from the room's secret.

mod actor;
mod admission;
pub mod adoption;
mod clients;
mod commands;
mod drain;
pub mod effect;
mod frame_reports;
mod gathering;
pub mod home;
mod leftovers;
mod moves;
pub mod note;
mod people;
mod probe_limits;
mod refused;
pub mod registry;
mod roll_call;
pub mod room;
mod secret;
mod silence;
mod unreached;

pub(crate) use commands::COMMAND_DEADLINE;
pub use effect::{Joined, Joiner, OwnJoin, Resume};
pub use registry::{Join, RoomLimits, Rooms, Settled};

#[cfg(test)]
mod room_tests;
