//! Terminals, pipes, files and signals around the real programs: none of them stops a voice, a server or the end of a program.
//!
//! * [`world`]: a room with a listener, and helpers for processes;
//! * [`readers`]: slow, missing and vanishing readers of a call's output;
//! * [`answers`]: complete answers, and exit codes for incomplete ones;
//! * [`waiting`]: signals while a program waits;
//! * [`files`]: inputs and recordings;
//! * [`servers`]: control and relay.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unreachable_pub, reason = "the modules of a test are one house")]

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod files;
mod readers;
mod servers;
mod waiting;
mod world;
