//! The state machines of the relay, without I/O: bytes and an `Instant` in, datagrams and events out.
//!
//! A datagram passes these modules, in this order: `packet` (the buffer that it came in) → `ingress` (authentic, new,
//! allowed) → `home` (among the loudest; `bundle`) → `room` (the receivers) → `egress` (a header for each of them) →
//! `transport`. `worker` has the order of a round. Frames of a room that is larger than a worker go by `crossing` to its
//! home and from there.
//!
//! `registry` carries out control's commands. It writes what the workers read: `room`, `session`, `leaves`. `loss` has what is lost between clients and relay.

mod bundle;
mod command;
mod config;
mod counters;
mod crossing;
mod egress;
mod fences;
mod frame;
mod home;
mod ingress;
mod leaves;
mod limits;
mod loss;
mod loudest;
mod mailbox;
mod packet;
mod path;
mod registry;
mod room;
mod session;
mod slots;
mod transport;
mod window;
mod worker;

pub use command::{Ended, WorkerCommand};
pub use config::WorkerConfig;
pub use counters::{Counter, Counters, DropCause};
pub use crossing::Crossings;
pub use limits::RateLimits;
pub use mailbox::{Mailbox, MailboxSender, mailbox};
pub use packet::{KernelTime, PACKET_CAPACITY, Packet, PacketPool, Received};
pub use path::FourTuple;
pub use registry::{Capacity, MediaEnded, Registry};
pub use transport::{CHUNK, Outgoing, SendStatus, Transport};
pub use window::WindowControl;
pub use worker::{Round, Worker};
