//! Requests of clients over ALPN `confab/1`: one request and one response per stream.
//!
//! * [`connection`]: the streams and events of one client; `client`: its state and request rate; [`windows`]: flow-control limits
//!   of its connection;
//! * `request`: reads a request; `fields`: parses its fields into domain types;
//! * `dispatch`: carries out each request; `answer`: writes the response.

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
use crate::audit::Audit;
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
    pub audit: Audit,
    /// Conferences and their members.
    pub conferences: Arc<Conferences>,
    pub rooms: Rooms,
    pub clients: Clients,
    /// Participant counts of the rooms of all nodes.
    pub counts: Arc<LiveCounts>,
    pub nodes: Nodes,
    pub clock: Clock,
    pub region: Option<Region>,
    /// SHA-256 over the DER of the cluster CA's certificate.
    pub authority: [u8; 32],
    /// Counters of requests and closed connections.
    pub metrics: Metrics,
}
