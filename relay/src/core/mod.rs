//! What decides, without I/O: bytes and an `Instant` in, datagrams and events out.
//!
//! A datagram's way, in the order of the modules: [`packet`] (the buffer it came in) → [`ingress`] (whose, authentic,
//! new, allowed) → [`room`] (who hears it) → [`fanout`] (bundles and headers) → [`transport`].
//!
//! [`registry`] is the other door: control's commands. It writes what the workers read.

pub mod counters;
pub mod fanout;
pub mod histogram;
pub mod ingress;
pub mod limits;
pub mod loudest;
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
pub use packet::{Packet, PacketPool};
pub use registry::{MediaEnded, Registry};
pub use transport::{Outgoing, SendStatus, Transport};
pub use worker::{Worker, WorkerCommand};
