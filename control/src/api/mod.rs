//! What clients ask over ALPN `confab/1`: one request on one stream, one answer.
//!
//! * [`connection`]: one client's streams and events; `client`: what its connection knows of it, and its rate; [`windows`]: how much it may have under way;
//! * `request`: reads one request; `fields`: parses its fields into domain types;
//! * `dispatch`: what each request does; `answer`: writes the answer to a client that reads it.

mod answer;
mod client;
pub mod connection;
mod dispatch;
mod fields;
mod request;
pub mod windows;

use std::sync::Arc;

use confab_protocol::control::Region;

use crate::accounts::Accounts;
use crate::clients::Clients;
use crate::clock::Clock;
use crate::cluster::nodes::Nodes;
use crate::conferences::Conferences;
use crate::metrics::Metrics;
use crate::rooms::Rooms;
use crate::rooms::counts::LiveCounts;

/// The services that requests of clients use.
pub struct Services {
    pub accounts: Arc<Accounts>,
    /// Conferences and their members.
    pub conferences: Conferences,
    pub rooms: Rooms,
    pub clients: Clients,
    /// The number of participants in rooms of all nodes.
    pub counts: LiveCounts,
    pub nodes: Nodes,
    pub clock: Clock,
    pub region: Option<Region>,
    /// SHA-256 over the DER of the cluster CA's certificate.
    pub authority: [u8; 32],
    /// Counters of requests and closed connections.
    pub metrics: Metrics,
}
