//! Liveness of control nodes, and requests between them.
//!
//! * [`members`]: decides which nodes live, without I/O;
//! * [`heartbeat`]: writes this node's heartbeat to the store and reads those of others;
//! * [`messages`]: requests between nodes, and their responses; [`admin`]: requests of operators about accounts, conferences and rooms;
//! * [`peers`]: connections to other nodes; `peer_queue`: repeats a request until the node has acknowledged it.

pub mod admin;
pub mod heartbeat;
pub mod members;
pub mod messages;
mod peer_queue;
pub mod peers;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use confab_protocol::control::AccountId;

pub use admin::AdminRequest;
pub use members::Members;
pub use messages::{NodeRequest, NodeResponse};
use peer_queue::PeerQueue;
pub use peers::{PeerError, Peers};

use crate::cluster::status::NodeLiveness;
use crate::mutex::lock;
use crate::random;
use crate::store::{NodeRecord, NodeRun, SessionId};

/// Approximate maximum of addresses of other nodes that a client is given.
const MAX_ADDRESSES: usize = 4;

/// This node and the other nodes. Clones share state.
#[derive(Clone)]
pub struct Nodes {
    me: NodeRun,
    members: Arc<Mutex<Members>>,
    /// `None` if the store is not shared.
    peers: Option<Arc<Peers>>,
    peer_queue: PeerQueue,
    /// Number of rooms taken over from other nodes.
    takeovers: Arc<AtomicU64>,
}

impl Nodes {
    /// The only node, on a store that is not shared.
    pub fn alone(me: NodeRun) -> Self {
        Self {
            members: Arc::new(Mutex::new(Members::alone(me.clone()))),
            me,
            peers: None,
            peer_queue: PeerQueue::default(),
            takeovers: Arc::default(),
        }
    }

    /// One of several nodes that share a store.
    pub fn among(me: NodeRun, peers: Peers) -> Self {
        Self {
            members: Arc::new(Mutex::new(Members::new(me.clone()))),
            me,
            peers: Some(Arc::new(peers)),
            peer_queue: PeerQueue::default(),
            takeovers: Arc::default(),
        }
    }

    pub fn me(&self) -> &NodeRun {
        &self.me
    }

    /// The current lease epoch, or `None` if the lease may have expired. The number changes whenever the lease may have lapsed.
    pub fn lease_epoch(&self, now: Instant) -> Option<u64> {
        self.members().lease_epoch(now)
    }

    /// Counts a room taken over from another node.
    pub fn count_takeover(&self) {
        self.takeovers.fetch_add(1, Ordering::Relaxed);
    }

    /// Number of rooms taken over from other nodes.
    pub fn takeovers(&self) -> u64 {
        self.takeovers.load(Ordering::Relaxed)
    }

    /// Liveness of a run of another node whose name was just read from the store.
    pub fn liveness(&self, run: &NodeRun) -> members::Liveness {
        self.members().liveness(Instant::now(), run)
    }

    /// All other nodes that the store lists, alive or not.
    fn listed(&self) -> Vec<NodeRecord> {
        self.members().listed()
    }

    /// All other nodes that the store lists, with their liveness.
    pub fn listed_with_liveness(&self) -> Vec<(NodeRecord, NodeLiveness)> {
        self.members().listed_with_liveness()
    }

    /// The other nodes that are alive.
    pub fn others(&self) -> Vec<NodeRecord> {
        self.members().others()
    }

    /// Addresses for clients of a few other nodes, chosen at random.
    pub fn public_addresses(&self) -> Vec<String> {
        let mut others = self.others();
        let mut notified = Vec::new();
        while !others.is_empty() && notified.len() < MAX_ADDRESSES {
            let drawn = random::below(others.len());
            notified.extend(others.swap_remove(drawn).public);
        }
        notified
    }

    /// Notifies every other node that a session has ended. The notice is repeated until the node acknowledges it or is no longer
    /// listed. Does not wait.
    pub fn notify_session_ended(&self, account: AccountId, session: SessionId) {
        if self.peers.is_none() {
            return;
        }
        let nodes = self.clone();
        let ask = NodeRequest::EndSession(account, session);
        let notified = self.listed();
        for node in &notified {
            self.peer_queue.enqueue(&nodes, node, &ask);
        }
        tokio::spawn(async move {
            // A node that started after the last read of the store was not listed before.
            tokio::time::sleep(2 * members::HEARTBEAT_INTERVAL).await;
            let is_new = |node: &NodeRecord| notified.iter().all(|known| known.run != node.run);
            for node in nodes.listed().iter().filter(|node| is_new(node)) {
                nodes.peer_queue.enqueue(&nodes, node, &ask);
            }
        });
    }

    /// Sends a request to another node.
    pub async fn ask(
        &self,
        node: &NodeRecord,
        ask: &NodeRequest,
    ) -> Result<NodeResponse, PeerError> {
        match &self.peers {
            Some(peers) => peers.ask(node, ask).await,
            None => Err(PeerError::Unreachable),
        }
    }

    /// Sets the client configuration for new connections to other nodes.
    pub fn set_client_config(&self, client: quinn::ClientConfig) {
        if let Some(peers) = &self.peers {
            peers.set_client_config(client);
        }
    }

    pub(super) fn members(&self) -> MutexGuard<'_, Members> {
        lock(&self.members)
    }
}
