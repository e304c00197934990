//! Conferences, their members and the members' roles.
//!
//! * [`rights`]: permissions of roles, without I/O;
//! * `operator`: what an operator does to conferences;
//! * [`service`]: the operations; [`errors`]: their errors.

pub mod errors;
mod operator;
pub mod rights;
pub mod service;

pub use service::Conferences;
