//! Participants and a network that do their worst.

mod foreign;
mod hall;
mod keys;
mod restless;
mod stuck;
mod unopened;
