//! The keys of a room by MLS (RFC 9420): what a member does, and what the delivery service in control does. No I/O.
//!
//! * [`suite`], [`group_name`], [`messages`], [`wire`]: what both sides say to each other;
//! * [`identity`], [`signing`]: who a leaf is: account, device, and the device's signature;
//! * [`crypto`], [`storage`], [`provider`]: what `openmls` asks of its host;
//! * `parse`: MLS messages as bytes;
//! * `profile`, `rules`: which key packages, groups and commits are allowed, checked by both sides;
//! * [`member`]: a participant's side: its groups, its epochs, and the base keys for SFrame;
//! * [`delivery`]: the delivery service: orders commits, and never has a key.

pub mod crypto;
pub mod delivery;
pub mod group_name;
pub mod identity;
pub mod member;
pub mod messages;
mod parse;
mod profile;
pub mod provider;
mod rules;
pub mod signing;
pub mod storage;
pub mod suite;
pub mod wire;

pub use crypto::{Crypto, HpkeKeyError, SUITES, check_hpke_key};
pub use delivery::Delivery;
pub use group_name::GroupName;
pub use identity::Credential;
pub use member::Member;
pub use messages::{FromMember, ToMember};
pub use profile::LeafError;
pub use provider::Provider;
pub use rules::RuleError;
pub use storage::{Storage, StorageError};
pub use suite::Suite;
