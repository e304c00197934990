//! Conferences, their members and the members' roles.
//!
//! * [`rights`]: permissions of roles, without I/O;
//! * `guests`: bans of guests; `invite`: invitations by link; `operator`: what an operator does to conferences;
//! * [`service`]: the operations; [`errors`]: their errors.

pub mod errors;
mod guests;
mod invite;
mod operator;
pub mod rights;
pub mod service;

pub use invite::NewInvitation;
pub use service::{ConferenceLimits, Conferences, NewConference};
