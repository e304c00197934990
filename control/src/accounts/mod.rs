//! Accounts and their sessions: who somebody is.
//!
//! * [`password`]: which passwords will do;
//! * [`hashing`]: Argon2id behind a bounded queue;
//! * [`token`]: what a session shows, rotated at every refresh;
//! * [`limits`]: throttling, before anything costly is done; [`cookie`]: devices that strangers' guesses do not slow down;
//! * [`service`]: the operations; [`errors`]: why they fail;
//! * [`export`]: everything that is kept about somebody.

pub mod cookie;
pub mod errors;
pub mod export;
pub mod hashing;
pub mod limits;
pub mod password;
pub mod service;
pub mod token;
mod unverified;

pub use hashing::Hasher;
pub use limits::LoginLimits;
pub use service::{Accounts, AccountsConfig, Granted, Login, SignedIn};
