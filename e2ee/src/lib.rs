//! End-to-end encryption: the keys that a room's members share, and the frames sealed under them. No I/O.
//!
//! * [`keys`]: where base keys come from, behind one trait;
//! * [`fixed_keys`]: base keys that are given, for tests and measurements;
//! * [`sframe`]: one key's seal and open (RFC 9605);
//! * [`cipher`]: a member's whole view: own counter, everyone's keys, replay windows;
//! * [`mls`]: base keys from MLS: a member, and the delivery service in control.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod cipher;
pub mod fixed_keys;
mod hkdf;
pub mod keys;
pub mod mls;
pub mod sframe;

pub use cipher::{FrameCipher, OpenError, SealError};
pub use fixed_keys::FixedKeys;
pub use keys::{BaseKey, BaseKeys};
