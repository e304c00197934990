//! What is fuzzed. Each module is a target: `run` takes any bytes and panics where something that always holds does not.
//!
//! * [`datagrams`]: what comes by UDP, as bytes;
//! * [`messages`]: what comes by QUIC, as bytes;
//! * [`text`]: what others wrote, as it is shown and kept;
//! * [`frames`]: what comes from other members of a room;
//! * [`jitter`]: a speaker's frames in time;
//! * [`call`]: a client's call, between a member with valid keys, a relay with valid tags and a server;
//! * [`mls`]: a room's keys, between a member with valid keys, a server of bad will and any bytes;
//! * [`orders`]: what control says to a relay, as bytes;
//! * [`relay_core`]: the relay between commands, clients, network and clock.

pub mod call;
mod call_group;
pub mod datagrams;
pub mod frames;
pub mod jitter;
pub mod messages;
pub mod mls;
pub mod orders;
pub mod relay_core;
mod script;
pub mod text;

/// A target's body.
pub type Target = fn(&[u8]);

/// Every target by its name: that of its binary and of its folder in the corpus.
pub const TARGETS: [(&str, Target); 9] = [
    ("datagrams", datagrams::run),
    ("messages", messages::run),
    ("text", text::run),
    ("frames", frames::run),
    ("jitter", jitter::run),
    ("call", call::run),
    ("mls", mls::run),
    ("orders", orders::run),
    ("relay_core", relay_core::run),
];
