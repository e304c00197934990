//! Conferences, their members and the members' roles.
//!
//! * [`rights`]: permissions of roles, without I/O;
//! * [`service`]: the operations; [`errors`]: their errors.

pub mod errors;
pub mod rights;
pub mod service;

pub use service::Conferences;
