//! Collects the state of the cluster, and forwards drains of relays.

use std::time::Duration;

use super::Services;
use crate::AGENT;
use crate::cluster::nodes::{NodeRequest, NodeResponse};
use crate::cluster::status::{ClusterStatus, NodeFigures, NodeLiveness, NodeStatus};
use crate::domain::RelayName;
use crate::store::StoreError;

/// Time limit for responses of other nodes.
const DEADLINE: Duration = Duration::from_secs(2);
/// Time limit for the store to write something. Shorter than the other's.
const PROBE_DEADLINE: Duration = Duration::from_secs(1);

/// The state of this node and of the relays that are linked to it.
pub async fn of_node(services: &Services) -> ClusterStatus {
    let me = &services.node;
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let node = NodeStatus {
        name: me.run.name.clone(),
        life: NodeLiveness::Alive,
        cluster: me.cluster.clone(),
        public: me.public.clone(),
        figures: Some(NodeFigures {
            agent: AGENT.to_owned(),
            region: services.region.clone(),
            rooms: count(services.rooms.count()),
            participants: services.rooms.participants(),
            clients: count(services.clients.count()),
            store_problem: store_problem(services).await,
            store_answers: services.accounts.store_answers(),
        }),
    };
    ClusterStatus {
        nodes: vec![node],
        relays: services.relays.status(&me.run.name),
    }
}

/// Why the store cannot write; empty if it can.
async fn store_problem(services: &Services) -> String {
    match tokio::time::timeout(PROBE_DEADLINE, services.accounts.probe_store()).await {
        Ok(Ok(())) => String::new(),
        Ok(Err(StoreError::Unavailable(reason))) => reason,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", PROBE_DEADLINE.as_secs()),
    }
}

/// The state of all nodes and relays; a node that does not respond in time has no figures.
pub async fn of_cluster(services: &Services) -> ClusterStatus {
    let mut all = of_node(services).await;
    let mut asked = tokio::task::JoinSet::new();
    for (node, life) in services.nodes.listed_with_liveness() {
        let nodes = services.nodes.clone();
        asked.spawn(async move {
            let ask = NodeRequest::Status {
                whole_cluster: false,
            };
            let answer = match life {
                NodeLiveness::Dead => None,
                _ => tokio::time::timeout(DEADLINE, nodes.ask(&node, &ask))
                    .await
                    .ok(),
            };
            match answer {
                Some(Ok(NodeResponse::Status(status))) => (node, life, *status),
                _ => (node, life, ClusterStatus::default()),
            }
        });
    }
    while let Some(answer) = asked.join_next().await {
        if let Ok((node, life, theirs)) = answer {
            all.add(&node, life, theirs);
        }
    }
    all.nodes.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

/// No reachable node has a link to this relay.
#[derive(Debug)]
pub struct NotLinked;

/// Tells a relay to drain, over this node's link or, if `by_any`, over another node's.
pub async fn drain(services: &Services, relay: &RelayName, by_any: bool) -> Result<(), NotLinked> {
    if services.relays.drain(relay) {
        tracing::info!(%relay, "an operator drains a relay");
        return Ok(());
    }
    if by_any {
        let ask = NodeRequest::DrainRelay {
            relay: relay.clone(),
            by_any: false,
        };
        for node in services.nodes.others() {
            let answer = tokio::time::timeout(DEADLINE, services.nodes.ask(&node, &ask)).await;
            if let Ok(Ok(NodeResponse::Done)) = answer {
                return Ok(());
            }
        }
    }
    Err(NotLinked)
}
