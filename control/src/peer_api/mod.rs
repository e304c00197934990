//! Requests of other nodes and of operators, over their own ALPN and with certificates: the counterpart of [`api`](crate::api).
//!
//! * [`serve`]: serves a connection; [`status`]: collects the state of the cluster; `admin`: what operators do to accounts,
//!   conferences and rooms.

mod admin;
pub mod serve;
pub mod status;

use std::sync::Arc;

use confab_protocol::control::{AccountId, Region};

use crate::accounts::Accounts;
use crate::audit::Audit;
use crate::clients::Clients;
use crate::cluster::Relays;
use crate::cluster::nodes::Nodes;
use crate::cluster::revoked::Revoked;
use crate::conferences::Conferences;
use crate::rooms::Rooms;
use crate::rooms::counts::LiveCounts;
use crate::store::{NodeRecord, SessionId};

/// Services for links of relays and for requests of nodes and operators.
pub struct Services {
    pub accounts: Arc<Accounts>,
    pub audit: Audit,
    pub conferences: Arc<Conferences>,
    /// Participants in the rooms of all nodes.
    pub counts: Arc<LiveCounts>,
    pub clients: Clients,
    pub rooms: Rooms,
    pub relays: Relays,
    pub nodes: Nodes,
    /// The revoked identities of relays and nodes.
    pub revoked: Revoked,
    /// This node's record in the store.
    pub node: NodeRecord,
    pub region: Option<Region>,
    /// SHA-256 over the DER of the cluster CA's certificate.
    pub authority: [u8; 32],
}

impl Services {
    /// Ends a session that another node has ended: signs out its connections and removes its participants from their rooms.
    pub fn session_ended(&self, account: AccountId, session: SessionId) {
        // The cache of sessions first, so that no further sign-in is accepted from it.
        self.accounts.forget(session);
        self.clients.session_ended(session);
        self.rooms.session_ended(account, session);
    }
}
