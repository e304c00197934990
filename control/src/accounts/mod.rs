//! Accounts and their sessions: who somebody is.
//!
//! * [`password`]: which passwords will do;
//! * [`hashing`]: Argon2id behind a bounded queue; `scratch`: its memory;
//! * [`token`]: what a session shows, rotated at every refresh;
//! * [`limits`]: throttling, before anything costly is done; [`cookie`]: devices that strangers' guesses do not slow down;
//! * [`service`]: the operations;
//! * [`export`]: everything that is kept about somebody.

pub mod cookie;
pub mod export;
pub mod hashing;
pub mod limits;
pub mod password;
mod scratch;
pub mod service;
pub mod token;
mod unproved;

pub use hashing::{HashCost, Hasher};
pub use limits::LoginLimits;
pub use service::{Accounts, AccountsConfig, Granted, Login, SignedIn};
