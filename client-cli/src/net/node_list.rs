//! The list of nodes that a server sends.

use super::Server;

/// Most nodes that are remembered beside the one that the person named.
pub(super) const MAX_NODES: usize = 8;

/// Nodes as a server tells them, [`MAX_NODES`] at most; what makes no sense is left out.
pub(super) fn parse_nodes(told: &[String]) -> Vec<Server> {
    let nodes = told.iter().filter_map(|node| node.parse().ok());
    nodes.take(MAX_NODES).collect()
}
