//! Writes this node's heartbeat to the store and reads the heartbeats of the other nodes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Nodes;
use super::members::HEARTBEAT_INTERVAL;
use crate::store::{NodeRecord, Store, StoreError};

/// A start under a listed name waits this long for a change of the other run's heartbeat.
const NAME_CHECK: Duration = Duration::from_millis(2500);
/// Added to the counter when the heartbeat task restarts: more heartbeats than one run of the task writes.
const COUNTER_STEP: u64 = 1 << 32;

/// An error that keeps this node from starting.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another node with this name is alive. Both would own the same rooms.
    #[error(
        "a control node named {0} runs already: give this one another name with --node, or stop that one"
    )]
    NameTaken(crate::domain::NodeName),
}

/// Checks that no other run uses this node's name, then writes the first heartbeat.
pub async fn claim_name(
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
        tokio::time::sleep(NAME_CHECK).await;
        if find().await?.is_some_and(|now| now != before) {
            return Err(NodeError::NameTaken(name.clone()));
        }
    }
    send_heartbeat(store, nodes, record).await?;
    Ok(())
}

/// A reason why notices from other nodes may have been missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissedNotices {
    /// The lease of this node lapsed: other nodes may have taken it for dead.
    ByThisNode,
    /// Another node died or restarted and may have had a notice for this one.
    OfAnotherNode,
}

/// Counts past all heartbeats that an earlier [`run`] may have written with a copy of `record`: the next one must be new to the
/// other nodes.
pub fn skip_written(record: &mut NodeRecord) {
    record.counter += COUNTER_STEP;
}

/// Writes heartbeats forever. Calls `notices_missed` when notices from other nodes may have been missed.
pub async fn run(
    store: Arc<dyn Store>,
    nodes: Nodes,
    mut record: NodeRecord,
    notices_missed: impl Fn(MissedNotices),
) {
    let mut turns = tokio::time::interval(HEARTBEAT_INTERVAL);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut answers, mut is_alone) = (true, true);
    let mut lease_epoch = nodes.lease_epoch(Instant::now());
    let mut departures = nodes.members().departures();
    loop {
        turns.tick().await;
        match send_heartbeat(store.as_ref(), &nodes, &mut record).await {
            Ok(()) if !answers => {
                answers = true;
                tracing::info!("the store answers again");
            }
            Err(error) if answers => {
                answers = false;
                tracing::warn!(%error, "cannot write this node's heartbeat to the store");
            }
            _ => {}
        }
        let was_alone = std::mem::replace(&mut is_alone, !nodes.members().has_duplicate());
        if was_alone && !is_alone {
            tracing::error!(
                node = %record.run.name,
                "two control nodes run under this name: give one of them another name with --node"
            );
        }
        let now_sure = nodes.lease_epoch(Instant::now());
        if now_sure.is_some() && now_sure != lease_epoch {
            lease_epoch = now_sure;
            notices_missed(MissedNotices::ByThisNode);
        }
        let departed = nodes.members().departures();
        if std::mem::replace(&mut departures, departed) != departed {
            notices_missed(MissedNotices::OfAnotherNode);
        }
    }
}

/// Writes one heartbeat, then reads those of all nodes, even if the write failed.
async fn send_heartbeat(
    store: &dyn Store,
    nodes: &Nodes,
    record: &mut NodeRecord,
) -> Result<(), StoreError> {
    record.counter += 1;
    let began = Instant::now();
    let stored = store.beat(record.clone()).await;
    if stored.is_ok() {
        nodes.members().heartbeat_stored(began);
    }
    let began = Instant::now();
    let listed = store.nodes().await?;
    nodes.members().update(began, listed);
    stored
}
