//! What decides, without I/O: bytes and an `Instant` in, datagrams and events out.
//!
//! A datagram's way, in the order of the modules: [`packet`] (the buffer it came in) → `ingress` (whose, authentic,
//! new, allowed) → `home` (among the loudest; `bundle`) → [`room`] (who hears it) → `egress` (to each a header of
//! its own) → [`transport`]. Frames of a room that is larger than a worker go by [`crossing`] to its home and from there.
//!
//! [`registry`] is the other door: control's commands. It writes what the workers read.

mod bundle;
pub mod counters;
pub mod crossing;
mod egress;
pub mod fences;
pub mod histogram;
mod home;
mod ingress;
pub mod limits;
pub mod loudest;
pub mod mailbox;
pub mod packet;
pub mod path;
pub mod registry;
pub mod room;
pub mod session;
pub mod slots;
pub mod transport;
pub mod window;
pub mod worker;

pub use counters::{Counters, DropCause};
pub use crossing::Crossings;
pub use mailbox::{Mailbox, Post, mailbox};
pub use packet::{Packet, PacketPool};
pub use path::FourTuple;
pub use registry::{MediaEnded, Registry};
pub use transport::{Outgoing, SendStatus, Transport};
pub use worker::{Round, Worker, WorkerCommand};
