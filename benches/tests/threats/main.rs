//! Attacks by a participant with valid keys, against the real programs: nobody else's voice stops, nobody speaks as another,
//! and who was removed neither hears nor speaks.
//!
//! * [`hostile`]: the attacker;
//! * [`frames`]: what it sends to the relay;
//! * [`group`]: what it sends to the delivery service.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unreachable_pub, reason = "the modules of a test are one house")]

#[path = "../common/mod.rs"]
mod common;

mod frames;
mod group;
mod hostile;
mod scene;
