//! The control nodes of a cluster among themselves.
//!
//! * [`members`]: who is alive, without I/O;
//! * [`heartbeat`]: says in the store that this node lives, and looks who else does;
//! * [`messages`]: what nodes ask of each other;
//! * [`peers`]: connections to the others; `peer_queue`: tells them what they have to hear.

pub mod heartbeat;
pub mod members;
pub mod messages;
mod peer_queue;
pub mod peers;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use confab_protocol::control::AccountId;

pub use members::Members;
pub use messages::{NodeAnswer, NodeAsk};
use peer_queue::PeerQueue;
pub use peers::{PeerError, Peers};

use crate::cluster::status::NodeLife;
use crate::random;
use crate::store::{NodeRecord, NodeRun, SessionId};

/// Addresses of other nodes that a client is told, about.
const MAX_TOLD: usize = 4;

/// This node and what it knows of the others. Clones share it.
#[derive(Clone)]
pub struct Nodes {
    me: NodeRun,
    members: Arc<Mutex<Members>>,
    /// `None` where there can be no others.
    peers: Option<Arc<Peers>>,
    peer_queue: PeerQueue,
    /// Rooms that this node took over from others.
    takeovers: Arc<AtomicU64>,
}

impl Nodes {
    /// The only node there can be: its store is a file that nobody else has.
    pub fn alone(me: NodeRun) -> Self {
        Self {
            members: Arc::new(Mutex::new(Members::alone(me.clone()))),
            me,
            peers: None,
            peer_queue: PeerQueue::default(),
            takeovers: Arc::default(),
        }
    }

    /// One of several, which find each other in the store.
    pub fn among(me: NodeRun, peers: Peers) -> Self {
        Self {
            members: Arc::new(Mutex::new(Members::new(me.clone()))),
            me,
            peers: Some(Arc::new(peers)),
            peer_queue: PeerQueue::default(),
            takeovers: Arc::default(),
        }
    }

    /// This run of this node.
    pub fn me(&self) -> &NodeRun {
        &self.me
    }

    /// Whether nobody can have taken this node for dead, and since when that holds without a break: the number changes with
    /// each break. `None` while somebody can.
    pub fn lease_epoch(&self, now: Instant) -> Option<u64> {
        self.members().lease_epoch(now)
    }

    /// This node has taken a room over from another one.
    pub fn count_takeover(&self) {
        self.takeovers.fetch_add(1, Ordering::Relaxed);
    }

    /// Rooms that this node took over from others.
    pub fn takeovers(&self) -> u64 {
        self.takeovers.load(Ordering::Relaxed)
    }

    /// What is known of another run of a node, of which one has just read.
    pub fn standing(&self, run: &NodeRun) -> members::Life {
        self.members().life(Instant::now(), run)
    }

    /// All others that the store lists, be they silent or not.
    fn listed(&self) -> Vec<NodeRecord> {
        self.members().listed()
    }

    /// All others that the store lists, and whether they live.
    pub fn census(&self) -> Vec<(NodeRecord, NodeLife)> {
        self.members().census()
    }

    /// The other nodes that live.
    pub fn others(&self) -> Vec<NodeRecord> {
        self.members().others()
    }

    /// Where clients reach the others, a random few of them.
    pub fn public_addresses(&self) -> Vec<String> {
        let mut others = self.others();
        let mut told = Vec::new();
        while !others.is_empty() && told.len() < MAX_TOLD {
            let drawn = random::below(others.len());
            told.extend(others.swap_remove(drawn).public);
        }
        told
    }

    /// Tells every other node that a session is over, until it has heard it or is no more. Does not wait for that.
    pub fn tell_session_ended(&self, account: AccountId, session: SessionId) {
        if self.peers.is_none() {
            return;
        }
        let nodes = self.clone();
        let ask = NodeAsk::EndSession(account, session);
        let told = self.listed();
        for node in &told {
            self.peer_queue.tell(&nodes, node, &ask);
        }
        tokio::spawn(async move {
            // One that has started since the last look was not listed then.
            tokio::time::sleep(2 * members::BEAT_INTERVAL).await;
            let is_new = |node: &NodeRecord| told.iter().all(|known| known.run != node.run);
            for node in nodes.listed().iter().filter(|node| is_new(node)) {
                nodes.peer_queue.tell(&nodes, node, &ask);
            }
        });
    }

    /// Asks another node.
    pub async fn ask(&self, node: &NodeRecord, ask: &NodeAsk) -> Result<NodeAnswer, PeerError> {
        match &self.peers {
            Some(peers) => peers.ask(node, ask).await,
            None => Err(PeerError::Unreachable),
        }
    }

    /// Uses another client configuration for new connections to other nodes.
    pub fn show(&self, client: quinn::ClientConfig) {
        if let Some(peers) = &self.peers {
            peers.show(client);
        }
    }

    pub(super) fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
