//! Calls of the real client over sound cards without hardware: whatever a card does, the call goes on.
//!
//! * [`stage`]: the programs, a card, people at it and people with files;
//! * [`choosing`]: a person chooses devices;
//! * [`delay`]: from mouth to ear (`make test-audio`);
//! * [`faults`]: a call of a minute in which everything happens;
//! * [`forms`]: cards of every form;
//! * [`opening`]: cards that do not open, do not move, do not close;
//! * [`long`]: ten minutes with clocks that differ (`make test-audio`).
//!
//! They need a client with the feature `device`, which `make test` builds beside the others, a C compiler and ALSA's
//! headers. Without those they say so and pass, unless `CONFAB_REQUIRE_AUDIO` is 1.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unreachable_pub, reason = "the modules of a test are one house")]

#[path = "../common/mod.rs"]
mod common;

mod choosing;
mod delay;
mod faults;
mod forms;
mod long;
mod opening;
mod stage;
