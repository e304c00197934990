//! The control nodes of a cluster among themselves.
//!
//! * [`members`]: who is alive, without I/O;
//! * [`heartbeat`]: says in the store that this node lives, and looks who else does;
//! * [`messages`]: what nodes ask of each other;
//! * [`peers`]: connections to the others;
//! * [`serve`]: what the others ask of this one.

pub mod heartbeat;
pub mod members;
pub mod messages;
pub mod peers;
pub mod serve;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use members::Members;
pub use messages::{NodeAnswer, NodeAsk};
pub use peers::{PeerError, Peers};

use crate::random;
use crate::store::{NodeRecord, NodeRun};

/// Addresses of other nodes that a client is told, about.
const MAX_TOLD: usize = 4;
/// A node that did not hear is told again after this time.
const TELL_AGAIN: Duration = Duration::from_millis(500);

/// This node and what it knows of the others. Clones share it.
#[derive(Clone)]
pub struct Nodes {
    me: NodeRun,
    members: Arc<Mutex<Members>>,
    /// `None` where there can be no others.
    peers: Option<Arc<Peers>>,
}

impl Nodes {
    /// The only node there can be: its store is a file that nobody else has.
    pub fn alone(me: NodeRun) -> Self {
        Self {
            members: Arc::new(Mutex::new(Members::alone(me.clone()))),
            me,
            peers: None,
        }
    }

    /// One of several, which find each other in the store.
    pub fn among(me: NodeRun, peers: Peers) -> Self {
        Self {
            members: Arc::new(Mutex::new(Members::new(me.clone()))),
            me,
            peers: Some(Arc::new(peers)),
        }
    }

    /// This run of this node.
    pub fn me(&self) -> &NodeRun {
        &self.me
    }

    /// Whether nobody can have taken this node for dead, and since when that holds without a break: the number changes with
    /// each break. `None` while somebody can.
    pub fn sure_since(&self, now: Instant) -> Option<u64> {
        self.members().sure_since(now)
    }

    /// What is known of another run of a node.
    pub fn standing(&self, run: &NodeRun) -> members::Life {
        self.members().life(run)
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
            let drawn = usize::from_be_bytes(random::bytes()) % others.len();
            told.extend(others.swap_remove(drawn).public);
        }
        told
    }

    /// Tells every other node something until it has heard it or is dead. Does not wait for that.
    pub fn tell_all(&self, ask: &NodeAsk) {
        for node in self.others() {
            let (nodes, ask) = (self.clone(), ask.clone());
            tokio::spawn(async move {
                while nodes.standing(&node.run) != members::Life::Dead {
                    match nodes.ask(&node, &ask).await {
                        Ok(_) => return,
                        Err(error) => {
                            tracing::warn!(node = %node.run.name, %error, "a node was not told")
                        }
                    }
                    tokio::time::sleep(TELL_AGAIN).await;
                }
            });
        }
    }

    /// Asks another node.
    pub async fn ask(&self, node: &NodeRecord, ask: &NodeAsk) -> Result<NodeAnswer, PeerError> {
        match &self.peers {
            Some(peers) => peers.ask(node, ask).await,
            None => Err(PeerError::Unreachable),
        }
    }

    pub(super) fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
