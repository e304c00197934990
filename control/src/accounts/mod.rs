//! Accounts and their sessions.
//!
//! * [`password`]: rules for new passwords;
//! * [`hashing`]: Argon2id behind a bounded queue;
//! * [`token`]: session tokens, rotated at every refresh; `unverified`: tokens accepted during an outage of the store;
//! * [`limits`]: rate limits, applied before a hash is computed; [`cookie`]: device cookies, which give a known device its own
//!   limits;
//! * [`codes`]: codes that are sent by mail;
//! * `recent_changes`: repeated changes of a password;
//! * [`service`]: the operations; [`errors`]: their errors;
//! * [`export`]: the export of all data of an account.

pub mod codes;
pub mod cookie;
pub mod errors;
pub mod export;
pub mod hashing;
pub mod limits;
pub mod password;
mod recent_changes;
pub mod service;
pub mod token;
mod unverified;

pub use hashing::Hasher;
pub use limits::LoginLimits;
pub use service::{Accounts, AccountsConfig, Granted, Login, SignedIn};
