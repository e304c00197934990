//! Every byte that crosses a wire of Confab, and no I/O.
//!
//! * [`control`]: what a client and a control node say to each other over QUIC;
//! * [`cluster`]: what a relay and a control node say to each other over QUIC;
//! * [`media`]: the datagrams between a client and a relay, and what the members alone can read in them;
//! * [`version`]: which versions of all that both sides speak;
//! * [`dates`]: dates and times as messages tell them.
//!
//! `docs/protocol.md` describes the same for people who write another implementation.
//!
//! # Example
//!
//! The first request of a client, and a datagram of audio:
//!
//! ```
//! use confab_protocol::control::framing::{self, Deframer};
//! use confab_protocol::media::uplink::{Uplink, UplinkBody};
//! use confab_protocol::media::{AudioLevel, ConnectionId, HopKey};
//! use confab_protocol::wire;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A request goes alone on a QUIC stream of its own, with its length in front.
//! let hello = wire::Request {
//!     kind: Some(wire::request::Kind::Hello(wire::Hello {
//!         min_version: 1,
//!         max_version: 1,
//!         agent: "example 1.0".to_owned(),
//!     })),
//! };
//! let bytes = framing::encode(&hello);
//! let mut deframer = Deframer::new(16 * 1024);
//! deframer.push(&bytes);
//! assert_eq!(deframer.next::<wire::Request>()?, Some(hello));
//!
//! // The answer to a join has the keys for the relay. Every datagram has a number and a tag under one of them.
//! let (connection_id, uplink_key) = (ConnectionId::new(0, 1, 42), HopKey::new([7; 16]));
//! let body = UplinkBody::Audio {
//!     level: AudioLevel::SILENCE,
//!     sframe: b"a frame that e2ee has sealed",
//! };
//! let mut datagram = Vec::new();
//! body.encode(connection_id, 0, &uplink_key, &mut datagram)?;
//! assert!(Uplink::parse(&datagram)?.is_authentic(&uplink_key));
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod cluster;
pub mod control;
pub mod dates;
pub mod media;
pub mod version;

/// The protobuf messages as `prost` generates them from `proto/confab/v1/`.
///
/// They are parsed into the types of [`control`] and [`cluster`] at the edge and go no further.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/confab.v1.rs"));
}
