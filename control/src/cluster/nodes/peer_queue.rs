//! Tells other nodes what they have to hear: one after the other to each, again until it is heard.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{NodeAsk, Nodes};
use crate::random::jittered;
use crate::store::{NodeRecord, NodeRun};

/// The pause after a node did not hear, at first; it doubles with each time.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// What waits for a node, at most; the oldest is given up then. A node that was out of reach for so long looks up whose
/// sessions have ended by itself, when it is back.
const MAX_WAITING: usize = 10_000;

/// What waits to be heard, by node. Clones share it.
#[derive(Clone, Default)]
pub(super) struct PeerQueue {
    waiting: Arc<Mutex<HashMap<NodeRun, VecDeque<NodeAsk>>>>,
}

impl PeerQueue {
    /// Has the node hear it, in its turn.
    pub(super) fn tell(&self, nodes: &Nodes, node: &NodeRecord, ask: &NodeAsk) {
        let mut waiting = self.lock();
        let is_idle = !waiting.contains_key(&node.run);
        let queue = waiting.entry(node.run.clone()).or_default();
        if queue.len() == MAX_WAITING {
            queue.pop_front();
        }
        queue.push_back(ask.clone());
        if is_idle {
            tokio::spawn(self.clone().keep(nodes.clone(), node.clone()));
        }
    }

    /// Goes on after a panic: what is not told is a session that has ended, and has to be.
    async fn keep(self, nodes: Nodes, node: NodeRecord) {
        while tokio::spawn(self.clone().run(nodes.clone(), node.clone()))
            .await
            .is_err()
        {
            tokio::time::sleep(MAX_PAUSE).await;
        }
    }

    async fn run(self, nodes: Nodes, node: NodeRecord) {
        let mut pause = PAUSE;
        while let Some(ask) = self.next(&node.run) {
            match nodes.ask(&node, &ask).await {
                Ok(_) => {
                    pause = PAUSE;
                    self.heard(&node.run, &ask);
                }
                Err(error) => {
                    if pause == PAUSE {
                        tracing::warn!(node = %node.run.name, %error, "a node was not told of what it has to hear; it is told again");
                    }
                    if !nodes.members().is_listed(&node.run) {
                        self.lock().remove(&node.run);
                        return;
                    }
                    tokio::time::sleep(jittered(pause)).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    /// What is next for the node; without anything it is idle.
    fn next(&self, run: &NodeRun) -> Option<NodeAsk> {
        let mut waiting = self.lock();
        let next = waiting.get(run).and_then(|queue| queue.front().cloned());
        if next.is_none() {
            waiting.remove(run);
        }
        next
    }

    fn heard(&self, run: &NodeRun, ask: &NodeAsk) {
        if let Some(queue) = self.lock().get_mut(run)
            && queue.front() == Some(ask)
        {
            queue.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeRun, VecDeque<NodeAsk>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
