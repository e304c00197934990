//! Every byte that crosses a wire of Confab, and no I/O.
//!
//! * [`control`]: what a client and a control node say to each other over QUIC;
//! * [`cluster`]: what a relay and a control node say to each other over QUIC;
//! * [`media`]: the datagrams between a client and a relay, and what the members alone can read in them;
//! * [`version`]: which versions of all that both sides speak;
//! * [`dates`]: dates and times as messages tell them.
//!
//! `docs/protocol.md` describes the same for people who write another implementation.

#![forbid(unsafe_code)]

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
