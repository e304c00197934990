//! Conferences and who is what in them.
//!
//! * [`rights`]: who may do what to whom, without I/O;
//! * [`service`]: the operations; [`errors`]: why they fail.

pub mod errors;
pub mod rights;
pub mod service;

pub use service::Conferences;
