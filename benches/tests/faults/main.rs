//! What goes wrong in a running system, with the real programs, one row of the table in docs/faults.md after the other.
//!
//! * [`world`]: control nodes, relays and what is between them;
//! * [`talkers`]: people who say a tone and record what they hear;
//! * [`figures`]: what was measured, against what the table wants;
//! * the rows: [`relays`], [`nodes`], [`store`], [`links`], [`networks`], [`storm`], [`restarts`].
//!
//! `make test` runs them with bounds that a busy machine can keep; `make test-faults` with those of the table, and the long
//! ones too.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unreachable_pub, reason = "the modules of a test are one house")]

#[path = "../common/mod.rs"]
mod common;

mod figures;
mod links;
mod networks;
mod nodes;
mod relays;
mod restarts;
mod store;
mod storm;
mod talkers;
mod world;
