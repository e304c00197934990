//! The nodes of a server: any of them will do, and each knows some of the others.

use std::time::Duration;

use super::node_list::MAX_NODES;
use super::race::race;
use super::{ConnectError, Link, Server, Trust};

/// Head start of the first node before the next one is tried as well; each one after it gets twice as long, so that
/// nodes that are slow because all clients come at once are not asked for more than that.
const NEXT_NODE_AFTER: Duration = Duration::from_millis(500);

/// Number of head starts after which they stop growing.
const HEAD_START_DOUBLINGS: u32 = 3;

/// The nodes of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes {
    /// The name that the person gave; sessions and pins are stored under it.
    server: Server,
    /// The other nodes, the latest first.
    others: Vec<Server>,
    /// The node that had the room last.
    preferred: Option<Server>,
    /// The node that was lost: tried when no other answers.
    suspect: Option<Server>,
}

impl Nodes {
    /// A server with its remembered nodes.
    pub fn new(server: Server, others: Vec<Server>) -> Self {
        let mut nodes = Self {
            server,
            others: Vec::new(),
            preferred: None,
            suspect: None,
        };
        nodes.learn(others);
        nodes
    }

    pub fn others(&self) -> &[Server] {
        &self.others
    }

    /// Adds the nodes that a node has named.
    pub fn learn(&mut self, told: Vec<Server>) {
        let mut others = told;
        others.append(&mut self.others);
        for node in others {
            let is_new = node != self.server && !self.others.contains(&node);
            if is_new && self.others.len() < MAX_NODES {
                self.others.push(node);
            }
        }
    }

    /// Marks a node as lost.
    pub fn lost(&mut self, node: &Server) {
        self.suspect = Some(node.clone());
    }

    pub fn reached(&mut self, node: &Server) {
        self.suspect.take_if(|suspect| suspect == node);
    }

    /// Marks the node that has the room.
    pub fn prefer(&mut self, node: &Server) {
        self.preferred = Some(node.clone());
    }

    /// Connects to the first node that answers.
    pub async fn open(&self, trust: &Trust) -> Result<Link, ConnectError> {
        self.open_any(&self.order(crate::random::fraction()), trust)
            .await
    }

    /// Connects to the first of `nodes` that answers. `trust` is in the person's own server; the others are trusted as the
    /// same cluster's.
    pub async fn open_any(&self, nodes: &[Server], trust: &Trust) -> Result<Link, ConnectError> {
        let attempts = nodes.iter().cloned().map(|node| {
            let own = node == self.server;
            let trust = match own {
                true => trust.clone(),
                false => trust.of_another_node(),
            };
            async move {
                Link::open(&node, &trust)
                    .await
                    .map_err(|error| (own, error))
            }
        });
        let head_start =
            |begun: u32| NEXT_NODE_AFTER * 2u32.pow((begun - 1).min(HEAD_START_DOUBLINGS));
        let errors = match race(attempts, head_start).await {
            Ok(link) => return Ok(link),
            Err(errors) => errors,
        };
        // What the person's own server says tells most.
        let (own, others): (Vec<_>, Vec<_>) = errors.into_iter().partition(|(own, _)| *own);
        let told = own.into_iter().chain(others).next();
        Err(told.map_or_else(
            || ConnectError::Unreachable {
                server: self.server.to_string(),
                reason: "nobody answers".into(),
            },
            |(_, error)| error,
        ))
    }

    /// The order of attempts. After the first node a client goes to a random one (`random` is 0.0 to 1.0), so that clients of a
    /// lost node spread.
    fn order(&self, random: f64) -> Vec<Server> {
        let preferred = self.preferred.as_ref().filter(|node| **node != self.server);
        let mut order: Vec<_> = preferred.into_iter().chain([&self.server]).collect();
        let others = self.others.iter().filter(|node| Some(*node) != preferred);
        order.extend(others);
        if let Some(lost) = order
            .iter()
            .position(|node| self.suspect.as_ref() == Some(node))
        {
            let lost = order.remove(lost);
            let turn = (random * order.len() as f64) as usize;
            let turn = turn.min(order.len().saturating_sub(1));
            order.rotate_left(turn);
            order.push(lost);
        }
        order.into_iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(names: &[&str]) -> Vec<Server> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn learnt_nodes_are_kept_once_newest_first_and_bounded() {
        let mut nodes = Nodes::new("a:1".parse().unwrap(), servers(&["b:1"]));
        nodes.learn(servers(&["c:1", "a:1", "c:1"]));
        assert_eq!(nodes.others(), servers(&["c:1", "b:1"]));
        for port in 2..40 {
            nodes.learn(servers(&[&format!("d:{port}")]));
        }
        assert_eq!(nodes.others().len(), MAX_NODES);
        assert_eq!(nodes.others()[0], "d:39".parse().unwrap());
    }

    #[test]
    fn a_node_that_was_lost_is_tried_last_and_the_others_in_turn() {
        let mut nodes = Nodes::new("a:1".parse().unwrap(), servers(&["b:1", "c:1"]));
        assert_eq!(nodes.order(0.9), servers(&["a:1", "b:1", "c:1"]));
        nodes.prefer(&"c:1".parse().unwrap());
        assert_eq!(nodes.order(0.9), servers(&["c:1", "a:1", "b:1"]));
        nodes.lost(&"c:1".parse().unwrap());
        assert_eq!(nodes.order(0.0), servers(&["a:1", "b:1", "c:1"]));
        assert_eq!(nodes.order(0.6), servers(&["b:1", "a:1", "c:1"]));
        assert_eq!(nodes.order(1.0), servers(&["b:1", "a:1", "c:1"]));
        nodes.reached(&"c:1".parse().unwrap());
        assert_eq!(nodes.order(0.9), servers(&["c:1", "a:1", "b:1"]));
        let mut alone = Nodes::new("a:1".parse().unwrap(), Vec::new());
        alone.lost(&"a:1".parse().unwrap());
        assert_eq!(alone.order(1.0), servers(&["a:1"]));
    }
}
