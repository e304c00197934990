//! What clients ask over ALPN `confab/1`: one request on one stream, one answer.
//!
//! * [`listener`]: takes connections in; [`door`]: who may shake hands; [`meter`]: what is sent to an address that is not proved;
//! * [`crowd`]: places for strangers; [`share`]: what an account's connections have together; [`links`]: those of relays and nodes;
//! * [`clients`]: who is connected and signed in;
//! * [`connection`]: one client: its streams, its rate, its events; [`connection_ids`]: by which datagrams find their connection;
//! * `request`: reads one; `fields`: protobuf becomes domain types, once;
//! * [`dispatch`]: what each request does; [`counts`]: how many are in rooms, wherever they are; `answer`: gives the answer to a client that takes it;
//! * [`close`]: why connections are closed.

mod answer;
pub mod clients;
pub mod close;
pub mod connection;
pub mod connection_ids;
pub mod counts;
pub mod crowd;
pub mod dispatch;
pub mod door;
mod fields;
pub mod links;
pub mod listener;
pub mod meter;
mod request;
pub mod share;
