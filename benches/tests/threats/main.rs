//! Attacks against the real programs. By a participant with valid keys: nobody else's voice stops, nobody speaks as another,
//! and who was removed neither hears nor speaks. By a control node that lies: members see it, and say so.
//!
//! * [`hostile`]: the participant; [`frames`]: what it sends to the relay; [`group`]: what it sends to the delivery service;
//! * [`liar`]: the node; [`control`]: what it says to members.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unreachable_pub, reason = "the modules of a test are one house")]

#[path = "../common/mod.rs"]
mod common;

mod control;
mod frames;
mod group;
mod hostile;
mod liar;
mod scene;
