//! What clients ask over ALPN `confab/1`: one request on one stream, one answer.
//!
//! * [`listener`]: takes connections in, so many from each source;
//! * [`clients`]: who is connected and signed in;
//! * [`connection`]: one client: its streams, its rate, its events;
//! * `requests`: protobuf becomes domain types, once;
//! * [`dispatch`]: what each request does;
//! * [`close`]: why connections are closed.

pub mod clients;
pub mod close;
pub mod connection;
pub mod dispatch;
pub mod listener;
mod requests;
