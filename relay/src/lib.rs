//! The relay: takes each speaker's encrypted frame and sends it to the members of the room; it cannot decrypt any.
//!
//! The program needs [`start`], [`Flags`], [`check`] and [`descriptors`]. [`core`], [`io`], [`link`] and [`metrics`] show
//! only the items by which the tests, benches and fuzz targets of this workspace drive the parts of a relay.
//!
//! * [`core`]: the state machines, without I/O;
//! * [`io`]: sockets and worker threads;
//! * [`link`]: control's commands, over QUIC; `identity`: the relay's certificate and key;
//! * [`metrics`]: the relay's figures, over HTTP; `heartbeat`: the progress of its workers;
//! * [`check`]: settings of a host that hold a relay back; [`descriptors`]: the limit of open files;
//! * `daemon`: puts all together; `workers`: starts the worker threads; `tasks`: restarts tasks that fail.

pub mod check;
pub mod core;
mod daemon;
pub mod descriptors;
pub mod flags;
mod heartbeat;
mod identity;
pub mod io;
pub mod link;
pub mod metrics;
mod tasks;
mod workers;

pub use daemon::{Died, Relay, StartError, start};
pub use flags::Flags;
