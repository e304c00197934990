//! End-to-end encryption: the keys that a room's members share, and the frames sealed under them. No I/O.
//!
//! * [`keys`]: where base keys come from, behind one trait;
//! * [`room_keys`]: base keys from a room's secret and each join's id;
//! * [`sframe`]: one key's seal and open (RFC 9605);
//! * [`cipher`]: a member's whole view: own counter, everyone's keys, replay windows.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod cipher;
pub mod keys;
pub mod room_keys;
pub mod sframe;

pub use cipher::{FrameCipher, OpenError, SealError};
pub use keys::{BaseKey, BaseKeys};
pub use room_keys::RoomKeys;
