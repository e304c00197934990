//! The relay: takes each speaker's encrypted frame and fans it out to the members of the room; reads none of it.
//!
//! * [`io`]: datagrams in and out, and the worker threads;
//! * [`core`]: what decides, without I/O: from a received datagram to those that are sent;
//! * [`identity`]: its certificate and its key;
//! * [`link`]: control's commands, over QUIC;
//! * [`check`]: what on a host will hold a relay back; [`descriptors`]: that files may be open;
//! * [`metrics`]: what the relay tells of itself, over HTTP; [`heartbeat`]: whether its workers make progress;
//! * [`tasks`]: what goes on for as long as the relay lives, and is started again when it fails;
//! * [`daemon`]: puts them together, by [`flags`].

pub mod check;
pub mod core;
pub mod daemon;
pub mod descriptors;
pub mod flags;
pub mod heartbeat;
pub mod identity;
pub mod io;
pub mod link;
pub mod metrics;
pub mod tasks;
mod workers;

pub use daemon::{Relay, StartError, start};
pub use flags::Flags;
