//! A queue of requests for each other node. Each request is repeated until the node acknowledges it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::{NodeRequest, Nodes};
use crate::mutex::lock;
use crate::random::jittered;
use crate::store::{NodeRecord, NodeRun};

/// Delay after the first failure; it doubles with each further one.
const RETRY_DELAY: Duration = Duration::from_millis(250);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(10);
/// Maximum length of a node's queue; the oldest request is dropped beyond it. A node that was unreachable for so long reads the
/// ended sessions from the store when it returns.
const MAX_WAITING: usize = 10_000;

/// The queues, by node. Clones share state.
#[derive(Clone, Default)]
pub(super) struct PeerQueue {
    waiting: Arc<Mutex<HashMap<NodeRun, VecDeque<NodeRequest>>>>,
}

impl PeerQueue {
    /// Adds a request to the node's queue.
    pub(super) fn enqueue(&self, nodes: &Nodes, node: &NodeRecord, ask: &NodeRequest) {
        let mut waiting = self.lock();
        let is_idle = !waiting.contains_key(&node.run);
        let queue = waiting.entry(node.run.clone()).or_default();
        if queue.len() == MAX_WAITING {
            queue.pop_front();
        }
        queue.push_back(ask.clone());
        if is_idle {
            tokio::spawn(self.clone().supervise(nodes.clone(), node.clone()));
        }
    }

    /// Runs the queue, and starts it again after a panic: otherwise an ended session would stay open at the node.
    async fn supervise(self, nodes: Nodes, node: NodeRecord) {
        while tokio::spawn(self.clone().run(nodes.clone(), node.clone()))
            .await
            .is_err()
        {
            tokio::time::sleep(MAX_RETRY_DELAY).await;
        }
    }

    async fn run(self, nodes: Nodes, node: NodeRecord) {
        let mut delay = RETRY_DELAY;
        while let Some(ask) = self.next(&node.run) {
            match nodes.ask(&node, &ask).await {
                Ok(_) => {
                    delay = RETRY_DELAY;
                    self.remove(&node.run, &ask);
                }
                Err(error) => {
                    if delay == RETRY_DELAY {
                        tracing::warn!(node = %node.run.name, %error, "cannot deliver a notice to a node: repeating it");
                    }
                    if !nodes.members().is_listed(&node.run) {
                        self.lock().remove(&node.run);
                        return;
                    }
                    tokio::time::sleep(jittered(delay)).await;
                    delay = (delay * 2).min(MAX_RETRY_DELAY);
                }
            }
        }
    }

    /// The next request; ends the queue if there is none.
    fn next(&self, run: &NodeRun) -> Option<NodeRequest> {
        let mut waiting = self.lock();
        let next = waiting.get(run).and_then(|queue| queue.front().cloned());
        if next.is_none() {
            waiting.remove(run);
        }
        next
    }

    fn remove(&self, run: &NodeRun, ask: &NodeRequest) {
        if let Some(queue) = self.lock().get_mut(run)
            && queue.front() == Some(ask)
        {
            queue.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeRun, VecDeque<NodeRequest>>> {
        lock(&self.waiting)
    }
}
