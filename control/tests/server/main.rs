//! Tests of the real server on a free port of 127.0.0.1, with clients and relays that speak the protocol over QUIC.

#![allow(unreachable_pub, clippy::unwrap_used)]

mod accounts;
mod attacks;
mod certificates;
mod conferences;
mod costs;
mod fleet;
mod floods;
mod gate;
mod groups;
mod guests;
mod harness;
mod invitations;
mod mail;
mod metrics;
mod misuse;
mod operators;
mod outage;
mod owner;
mod panics;
mod relay;
mod relays;
mod rooms;
