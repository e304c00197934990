//! The nodes of a server: any of them will do, and each knows some of the others.

use std::time::Duration;

use tokio::task::JoinSet;

use super::trust::Verdict;
use super::{ConnectError, Link, Server, Trust, TrustError};

/// Head start of a node before the next one is tried as well.
const NEXT_NODE_AFTER: Duration = Duration::from_secs(1);
/// Nodes that are remembered beside the one that the person named.
const MAX_NODES: usize = 8;

/// Where a server can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes {
    /// As the person names it; sessions and pins are kept under it.
    server: Server,
    /// The others, the one to try first in front.
    others: Vec<Server>,
    /// Whether the first of the others goes before `server`.
    redirected: bool,
}

impl Nodes {
    /// A server of which nothing more is known than what was remembered.
    pub fn new(server: Server, others: Vec<Server>) -> Self {
        let mut nodes = Self {
            server,
            others: Vec::new(),
            redirected: false,
        };
        nodes.learn(others);
        nodes
    }

    /// The others.
    pub fn others(&self) -> &[Server] {
        &self.others
    }

    /// Takes in what a node has told of the others.
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

    /// A node has said that these are to be asked; the next connection goes there.
    pub fn go_to(&mut self, nodes: Vec<Server>) {
        self.redirected = nodes.first().is_some_and(|first| *first != self.server);
        self.learn(nodes);
    }

    /// Connects to the first that answers. None but the person's own server is trusted at first sight.
    pub async fn open(&self, trust: &Trust) -> Result<Link, ConnectError> {
        let mut order = vec![self.server.clone()];
        order.extend(self.others.iter().cloned());
        if self.redirected && order.len() > 1 {
            order.swap(0, 1);
        }
        let mut waiting = order.into_iter();
        let mut attempts = JoinSet::new();
        let mut first_error = None;
        loop {
            let next = waiting.next();
            let is_last = next.is_none();
            match next {
                Some(node) => {
                    let (trust, own) = (trust.clone(), node == self.server);
                    attempts.spawn(async move { open_one(&node, &trust, own).await });
                }
                None if attempts.is_empty() => {
                    return Err(first_error.unwrap_or_else(|| ConnectError::Unreachable {
                        server: self.server.to_string(),
                        reason: "nobody answers".into(),
                    }));
                }
                None => {}
            }
            let head_start = async {
                if is_last {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(NEXT_NODE_AFTER).await;
            };
            tokio::select! {
                Some(attempt) = attempts.join_next() => match attempt {
                    Ok(Ok(link)) => return Ok(link),
                    // What the person's own server says tells most.
                    Ok(Err((true, error))) => first_error = Some(error),
                    Ok(Err((false, error))) => first_error = first_error.or(Some(error)),
                    Err(_) => {}
                },
                () = head_start => {}
            }
        }
    }
}

async fn open_one(node: &Server, trust: &Trust, own: bool) -> Result<Link, (bool, ConnectError)> {
    let link = Link::open(node, trust)
        .await
        .map_err(|error| (own, error))?;
    match link.verdict {
        Verdict::FirstSight(_) if !own => {
            let stranger = "another node of the server shows an authority that was not seen before";
            Err((own, TrustError::Untrusted(stranger.into()).into()))
        }
        _ => Ok(link),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(names: &[&str]) -> Vec<Server> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_learnt_is_kept_once_newest_first_and_bounded() {
        let mut nodes = Nodes::new("a:1".parse().unwrap(), servers(&["b:1"]));
        nodes.learn(servers(&["c:1", "a:1", "c:1"]));
        assert_eq!(nodes.others(), servers(&["c:1", "b:1"]));
        for port in 2..40 {
            nodes.learn(servers(&[&format!("d:{port}")]));
        }
        assert_eq!(nodes.others().len(), MAX_NODES);
        assert_eq!(nodes.others()[0], "d:39".parse().unwrap());
    }
}
