//! Says in the store that this node lives, and looks who else does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Nodes;
use super::members::BEAT_INTERVAL;
use crate::store::{NodeRecord, Store, StoreError};

/// A start under a name that another run had waits so long for a sign of life of it.
const NAME_WATCH: Duration = Duration::from_millis(2500);

/// Why this node cannot be one of the cluster's.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Two nodes of one name would take each other's rooms.
    #[error(
        "a control node named {0} runs already: give this one another name with --node, or stop that one"
    )]
    NameTaken(crate::domain::NodeName),
}

/// Makes sure that nobody else runs under this node's name, and says for the first time that it lives.
pub async fn enter(
    store: &dyn Store,
    nodes: &Nodes,
    record: &mut NodeRecord,
) -> Result<(), NodeError> {
    let name = &record.run.name;
    let find = async || -> Result<Option<NodeRecord>, StoreError> {
        let listed = store.nodes().await?;
        Ok(listed.into_iter().find(|listed| listed.run.name == *name))
    };
    if let Some(before) = find().await? {
        tokio::time::sleep(NAME_WATCH).await;
        if find().await?.is_some_and(|now| now != before) {
            return Err(NodeError::NameTaken(name.clone()));
        }
    }
    beat(store, nodes, record).await?;
    Ok(())
}

/// Why this node may not have been told something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// Others may have taken it for dead meanwhile.
    ThisNode,
    /// Another one is no more, or has started again, and may have had something to tell.
    Another,
}

/// Goes on for as long as the node lives. `missed` is called when this node may not have been told something.
pub async fn run(
    store: Arc<dyn Store>,
    nodes: Nodes,
    mut record: NodeRecord,
    missed: impl Fn(Missed),
) {
    let mut turns = tokio::time::interval(BEAT_INTERVAL);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut answers, mut is_alone) = (true, true);
    let mut sure = nodes.lease_epoch(Instant::now());
    let mut departures = nodes.members().departures();
    loop {
        turns.tick().await;
        match beat(store.as_ref(), &nodes, &mut record).await {
            Ok(()) if !answers => {
                answers = true;
                tracing::info!("the store answers again");
            }
            Err(error) if answers => {
                answers = false;
                tracing::warn!(%error, "the store does not take this node's heartbeat");
            }
            _ => {}
        }
        let was_alone = std::mem::replace(&mut is_alone, !nodes.members().has_impostor());
        if was_alone && !is_alone {
            tracing::error!(
                node = %record.run.name,
                "another control node runs under this one's name: give one of them another with --node"
            );
        }
        let now_sure = nodes.lease_epoch(Instant::now());
        if now_sure.is_some() && now_sure != sure {
            sure = now_sure;
            missed(Missed::ThisNode);
        }
        let departed = nodes.members().departures();
        if std::mem::replace(&mut departures, departed) != departed {
            missed(Missed::Another);
        }
    }
}

/// One heartbeat, and a look, whether the heartbeat was taken or not.
async fn beat(store: &dyn Store, nodes: &Nodes, record: &mut NodeRecord) -> Result<(), StoreError> {
    record.counter += 1;
    let began = Instant::now();
    let beaten = store.beat(record.clone()).await;
    if beaten.is_ok() {
        nodes.members().beaten(began);
    }
    let began = Instant::now();
    let listed = store.nodes().await?;
    nodes.members().look(began, listed);
    beaten
}
