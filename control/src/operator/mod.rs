//! Requests of an operator to a running cluster: status, accounts, conferences and rooms, drain of a relay, revocation of identities.
//!
//! A command connects to any node over the cluster's protocol. It uses a certificate that it issues for itself with the cluster's
//! CA key, or one that `operator-identity` has issued. Without either, commands are refused.
//!
//! * [`admin`]: requests about accounts, conferences and rooms;
//! * [`show`], [`listing`]: format answers as tables and as JSON.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use confab_protocol::control::Refusal;

use crate::clock::UnixMillis;
use crate::cluster::nodes::{NodeRequest, NodeResponse, PeerError, Peers};
use crate::cluster::status::{ClusterStatus, RelayStatus};
use crate::domain::{NodeName, RelayName};
use crate::server::STATE_FILE;
use crate::tls::authority::Authority;
use crate::tls::{TlsError, config, files};

pub mod admin;
pub mod listing;
pub mod show;

/// Default address of a node.
const DEFAULT_NODE: &str = "127.0.0.1:4433";
/// Time between two queries of a draining relay.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Errors of operators' commands.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error(transparent)]
    Keys(#[from] TlsError),
    #[error("{}", no_answer(node, *source))]
    Node { node: String, source: PeerError },
    /// The response does not match the request.
    #[error("the node's response cannot be parsed: check that both programs have the same version")]
    Malformed,
    #[error("{}", .0.message)]
    Refused(Refusal),
    #[error("no relay named {relay} is linked; linked relays: {known}")]
    NoSuchRelay {
        relay: RelayName,
        /// Names of the linked relays.
        known: String,
    },
    /// The relay still has sessions at the end of the wait.
    #[error("{relay} continues to drain; sessions left: {sessions}")]
    SessionsLeft { relay: RelayName, sessions: u32 },
}

/// Why the node did not answer, and what to do.
fn no_answer(node: &str, why: PeerError) -> String {
    match why {
        PeerError::Unresolved => {
            format!(
                "{node}: the name cannot be resolved: give a running server with --node HOST:PORT"
            )
        }
        PeerError::Unreachable => format!(
            "no server answers at {node}: start it, or give one that runs with --node HOST:PORT"
        ),
        PeerError::Foreign => format!(
            "the server at {node} does not belong to the keys here: give its data folder with --data-dir, or another server with --node HOST:PORT"
        ),
        PeerError::Lost | PeerError::Timeout | PeerError::Malformed => {
            format!("{node}: {why}; look whether it was done before you try again")
        }
    }
}

/// A client for operators' requests to one node.
pub struct Operator {
    peers: Peers,
    node: String,
}

/// How the draining of a relay has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drained {
    /// Sessions that ended with the relay, because no other one took them over.
    pub lost: u32,
    /// No other relay takes sessions.
    pub is_last: bool,
}

impl Operator {
    /// A client of `node`, else of the node that runs on the data folder, with the keys in the folder.
    pub fn new(
        data_dir: &Path,
        node: Option<&str>,
        now: UnixMillis,
    ) -> Result<Self, OperatorError> {
        let authority = Authority::open(data_dir)?;
        let identity = authority.operator_identity(data_dir, now)?;
        let client = config::node_client_config(&authority, identity)?;
        let node = match node {
            Some(node) => node.to_owned(),
            None => local_node(data_dir)?,
        };
        Ok(Self {
            peers: Peers::new(client),
            node,
        })
    }

    /// The status of all nodes and relays.
    pub async fn status(&self) -> Result<ClusterStatus, OperatorError> {
        match self
            .ask(&NodeRequest::Status {
                whole_cluster: true,
            })
            .await?
        {
            NodeResponse::Status(status) => Ok(*status),
            other => Err(unexpected(other)),
        }
    }

    /// Drains the relay and waits up to `wait` until it has no sessions or has ended. Calls `progress` whenever the number of
    /// sessions changes.
    pub async fn drain(
        &self,
        relay: &RelayName,
        wait: Duration,
        mut progress: impl FnMut(u32),
    ) -> Result<Drained, OperatorError> {
        let by_any = true;
        let ask = NodeRequest::DrainRelay {
            relay: relay.clone(),
            by_any,
        };
        match self.ask(&ask).await? {
            NodeResponse::Done => {}
            NodeResponse::Absent(_) => {
                let known = self.status().await?.relays;
                return Err(no_such_relay(relay, &known));
            }
            other => return Err(unexpected(other)),
        }
        let until = tokio::time::Instant::now() + wait;
        let (mut began, mut reported) = (false, None);
        loop {
            let status = self.status().await?;
            let (found, others): (Vec<_>, Vec<_>) = status
                .relays
                .into_iter()
                .partition(|known| known.name == *relay);
            // What it had when it ended has moved, unless there is no relay to move to.
            let is_last = others.iter().all(|other| other.load.draining);
            let lost = reported.filter(|_| is_last).unwrap_or(0);
            let drained = |lost| Drained { lost, is_last };
            let Some(found) = found.into_iter().next() else {
                return Ok(drained(lost));
            };
            began |= found.load.draining;
            let has_restarted = began && !found.load.draining;
            if has_restarted {
                let is_last = false;
                return Ok(Drained { lost, is_last });
            }
            if began && found.load.sessions == 0 {
                return Ok(drained(0));
            }
            let sessions = found.load.sessions;
            if reported != Some(sessions) {
                reported = Some(sessions);
                progress(sessions);
            }
            if tokio::time::Instant::now() >= until {
                let relay = relay.clone();
                return Err(OperatorError::SessionsLeft { relay, sessions });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Revokes the relay's identities issued until now.
    pub async fn revoke_relay(
        &self,
        relay: &RelayName,
        until: UnixMillis,
    ) -> Result<(), OperatorError> {
        self.done(&NodeRequest::RevokeRelay(relay.clone(), until))
            .await
    }

    /// Revokes the node's identities issued until now.
    pub async fn revoke_node(
        &self,
        node: &NodeName,
        until: UnixMillis,
    ) -> Result<(), OperatorError> {
        self.done(&NodeRequest::RevokeNode(node.clone(), until))
            .await
    }

    async fn done(&self, ask: &NodeRequest) -> Result<(), OperatorError> {
        match self.ask(ask).await? {
            NodeResponse::Done => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn ask(&self, ask: &NodeRequest) -> Result<NodeResponse, OperatorError> {
        let answer = self.peers.ask_at(&self.node, ask).await;
        answer.map_err(|source| OperatorError::Node {
            node: self.node.clone(),
            source,
        })
    }
}

/// The listening address that the node running on the folder has written to its state file.
fn local_node(data_dir: &Path) -> Result<String, OperatorError> {
    let state = files::read(&data_dir.join(STATE_FILE))?.unwrap_or_default();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap_or_default();
    let listen = state["listen"]
        .as_str()
        .and_then(|listen| listen.parse::<SocketAddr>().ok());
    let Some(mut listen) = listen else {
        return Ok(DEFAULT_NODE.to_owned());
    };
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    Ok(listen.to_string())
}

fn no_such_relay(relay: &RelayName, known: &[RelayStatus]) -> OperatorError {
    let known = show::names(known.iter().map(|relay| &relay.name));
    let relay = relay.clone();
    OperatorError::NoSuchRelay { relay, known }
}

fn unexpected(answer: NodeResponse) -> OperatorError {
    match answer {
        NodeResponse::Refused(refusal) | NodeResponse::Absent(refusal) => {
            OperatorError::Refused(refusal)
        }
        _ => OperatorError::Malformed,
    }
}
