//! The room's decisions on virtual time, without a relay, a store or a network.

mod adoption;
mod drains;
mod joins;
mod moderation;
mod ownership;
mod refused;
mod relays;
mod silence;
mod table;
mod unreached;
mod versions;
mod whatever;
