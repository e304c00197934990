//! The native client of Confab. In the order in which a command meets them:
//!
//! * [`flags`]: what was asked for;
//! * [`commands`]: one file for each group of commands;
//! * [`store`]: what is kept between two runs;
//! * [`identity`]: who the others in a call are, without I/O;
//! * [`net`]: QUIC to control, UDP to the relay;
//! * [`engine`]: a participation in a room, without I/O;
//! * [`audio`]: where sound comes from and goes to;
//! * [`output`]: reports, to a person or to a program; `stderr`: lines beside them;
//! * [`failure`]: what a command ends with when it fails.

#![forbid(unsafe_code)]

pub mod audio;
mod clock;
pub mod commands;
pub mod engine;
pub mod failure;
pub mod flags;
pub mod identity;
#[cfg(all(test, unix))]
mod late_stdin;
pub mod net;
pub mod output;
mod random;
mod stderr;
pub mod store;
