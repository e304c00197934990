//! The tasks that a server runs beside its connections.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use confab_protocol::control::AccountId;
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::time::MissedTickBehavior;

use super::parts::Parts;
use super::supervision::Supervisor;
use crate::accounts::Accounts;
use crate::cluster::nodes::Nodes;
use crate::cluster::nodes::heartbeat::{self, MissedNotices};
use crate::peer_api;
use crate::store::{NodeRecord, SessionId, Store};

/// Time between two deletions of expired and unfinished records.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Time between two verifications of sessions that were accepted during an outage of the store.
const VERIFY_INTERVAL: Duration = Duration::from_secs(1);
/// Time before a failed lookup of ended sessions is repeated.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Starts the tasks that every server has.
pub(super) fn start(tasks: &mut Supervisor, parts: &Parts) {
    let accounts = parts.api.accounts.clone();
    tasks.supervise("sweep", move || sweep(accounts.clone()));
    let rooms = parts.api.rooms.clone();
    tasks.supervise("leftovers", move || rooms.clone().sweep_leftovers());
    let accounts = parts.api.accounts.clone();
    tasks.supervise("prove", move || verify_unverified(accounts.clone()));
    if let Some(ended) = &parts.guests_to_forget {
        let of = (parts.api.accounts.clone(), ended.clone());
        tasks.supervise("guests", move || {
            let (accounts, ended) = of.clone();
            forget_guests(accounts, ended)
        });
    }
    let revoked = parts.peer_api.revoked.clone();
    tasks.supervise("revoked", move || revoked.clone().poll());
}

/// Starts the heartbeat of a node in a cluster. When notices of other nodes may have been missed, rooms and sessions are read
/// from the store again.
pub(super) fn start_heartbeat(
    tasks: &mut Supervisor,
    (store, nodes, mut record): (Arc<dyn Store>, Nodes, NodeRecord),
    parts: &Parts,
) {
    let missed = Arc::new(Notify::new());
    let of = (parts.peer_api.clone(), missed.clone());
    tasks.supervise("look-again", move || {
        let (services, missed) = of.clone();
        end_missed_sessions(services, missed)
    });
    let accounts = parts.api.accounts.clone();
    tasks.supervise("heartbeat", move || {
        heartbeat::skip_written(&mut record);
        let (accounts, missed) = (accounts.clone(), missed.clone());
        let notice = move |why| {
            if why == MissedNotices::ByThisNode {
                // The cache of sessions first: it may hold sessions that other nodes have ended.
                accounts.forget_all();
            }
            missed.notify_one();
        };
        heartbeat::run(store.clone(), nodes.clone(), record.clone(), notice)
    });
}

async fn end_missed_sessions(services: Arc<peer_api::Services>, missed: Arc<Notify>) {
    loop {
        missed.notified().await;
        services.rooms.wake().await;
        while !end_ended_sessions(&services).await {
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }
}

/// Ends the sessions here that have ended in the store without a notice to this node. Returns false if the store did not answer.
async fn end_ended_sessions(services: &peer_api::Services) -> bool {
    let sessions = services.clients.sessions();
    let accounts: HashMap<SessionId, AccountId> = sessions
        .into_iter()
        .map(|(account, session)| (session, account))
        .collect();
    let asked = accounts.keys().copied().collect();
    match services.accounts.ended_of(asked).await {
        Ok(ended) => {
            for session in ended {
                if let Some(account) = accounts.get(&session) {
                    services.session_ended(*account, session);
                }
            }
            true
        }
        Err(error) => {
            tracing::warn!(%error, "cannot read ended sessions from the store: trying again");
            false
        }
    }
}

/// Deletes the accounts of guests whose rooms have ended.
async fn forget_guests(accounts: Arc<Accounts>, ended: Arc<Mutex<mpsc::Receiver<AccountId>>>) {
    let mut ended = ended.lock().await;
    while let Some(guest) = ended.recv().await {
        accounts.forget_guest(guest).await;
    }
}

async fn sweep(accounts: Arc<Accounts>) {
    let mut turns = tokio::time::interval(SWEEP_INTERVAL);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        match accounts.sweep().await {
            Ok(0) => {}
            Ok(ended) => tracing::info!(ended, "deleted expired and unfinished records"),
            Err(error) => tracing::warn!(%error, "cannot delete expired records"),
        }
    }
}

async fn verify_unverified(accounts: Arc<Accounts>) {
    let mut turns = tokio::time::interval(VERIFY_INTERVAL);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        accounts.verify_unverified().await;
    }
}
