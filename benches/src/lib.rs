//! Measures Confab from outside: the demo, its harness, and the comparison of recordings.
//!
//! * [`speech`]: recordings of people, made ready to be spoken into a call;
//! * [`fleet`]: the real programs, started, watched and ended;
//! * [`listeners`]: many clients in one process;
//! * [`wire`]: a network that can fail;
//! * [`tone`]: when a tone was heard and when not;
//! * [`align`]: how much of what was said is in what was heard, and how late;
//! * [`card`]: sound cards without hardware;
//! * [`voice`]: something like a voice, where there is none to be had;
//! * [`demo`]: a conference of four, from nothing to a report;
//! * [`bench_room`]: a relay's core with a room in it and no sockets;
//! * [`cases`]: what the core does for a frame, piece by piece; [`instructions`] counts what that takes;
//! * [`load`]: load for a real relay over real sockets;
//! * [`relay`]: what the relay costs, against [`bare`], as [`figures`];
//! * [`measured`]: the figures of the documents;
//! * [`peers`]: the relay beside another server, such as [`mumble`];
//! * [`control`]: what control costs;
//! * [`capacity`]: a fleet of a thousand relays in figures;
//! * [`leak`]: what the path learns of what is said;
//! * [`clarity`]: speech over networks that lose; [`microphone`]: speech with noise and echo; [`score`] judges both;
//! * [`e2ee`]: what end-to-end encryption costs, and what it does to voice;
//! * [`program`]: how the programs of this crate run and end.

#![forbid(unsafe_code)]

pub mod align;
pub mod bare;
pub mod bench_room;
pub mod capacity;
pub mod card;
pub mod cases;
pub mod clarity;
pub mod control;
pub mod demo;
pub mod e2ee;
pub mod figures;
pub mod fleet;
pub mod instructions;
pub mod leak;
pub mod listeners;
pub mod load;
pub mod measured;
pub mod microphone;
pub mod mumble;
pub mod peers;
pub mod program;
pub mod relay;
pub mod score;
pub mod speech;
pub mod tone;
pub mod voice;
pub mod wire;

/// Rate of all sound in the harness, in samples a second.
pub const RATE: u32 = 48_000;
