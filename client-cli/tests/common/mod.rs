//! A server that shows whichever certificates a test wants and says what it wants, and the real client.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test file uses a part"
)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod authority;
mod client;
mod server;

pub use authority::{Authority, Identity};
pub use client::Client;
pub use server::{FakeServer, kindly};
