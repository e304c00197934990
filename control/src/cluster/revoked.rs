//! Identities of relays that are not good any more: a relay's key was stolen, or its machine is given away.
//!
//! The store keeps, for each such relay, until when its identities were revoked. One that was made later is good: so a relay
//! keeps its name. Nodes look it up when a relay links, and every few seconds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::RelayName;
use crate::clock::UnixMillis;
use crate::store::{Store, StoreError};

/// Time between two looks at the store: so long a revoked relay's link may outlive its identity.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);
/// A relay that links waits so long for the store. If it does not answer, what it said last counts.
const LOOK_DEADLINE: Duration = Duration::from_secs(2);

/// What is revoked, as the store said last. Clones share it.
#[derive(Clone)]
pub struct Revoked {
    store: Arc<dyn Store>,
    known: Arc<watch::Sender<HashMap<RelayName, UnixMillis>>>,
}

impl Revoked {
    /// Nothing is known yet.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            known: Arc::new(watch::Sender::new(HashMap::new())),
        }
    }

    /// Revokes the relay's identities that were made until then.
    pub async fn revoke(&self, relay: RelayName, until: UnixMillis) -> Result<(), StoreError> {
        self.store.revoke_relay(relay, until).await?;
        self.look().await
    }

    /// Whether a relay that links with an identity that was made then is to be refused.
    pub async fn refuses(&self, relay: &RelayName, issued: UnixMillis) -> bool {
        let looked = tokio::time::timeout(LOOK_DEADLINE, self.look()).await;
        if !matches!(looked, Ok(Ok(()))) {
            tracing::warn!(%relay, "the store does not say which relays are revoked; what it said last counts");
        }
        is_revoked(&self.known.borrow(), relay, issued)
    }

    /// Resolves when that identity of the relay is revoked.
    pub async fn until_revoked(&self, relay: &RelayName, issued: UnixMillis) {
        let mut known = self.known.subscribe();
        // Ends otherwise only with the last clone of this, and `self` is one.
        let _ = known
            .wait_for(|known| is_revoked(known, relay, issued))
            .await;
    }

    /// Looks at the store for as long as the node lives.
    pub async fn watch(self) {
        let mut turns = tokio::time::interval(LOOK_INTERVAL);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "which relays are revoked could not be looked up");
            }
        }
    }

    async fn look(&self) -> Result<(), StoreError> {
        let listed: HashMap<_, _> = self.store.revoked_relays().await?.into_iter().collect();
        self.known.send_if_modified(|known| {
            let is_new = *known != listed;
            if is_new {
                *known = listed;
            }
            is_new
        });
        Ok(())
    }
}

fn is_revoked(
    known: &HashMap<RelayName, UnixMillis>,
    relay: &RelayName,
    issued: UnixMillis,
) -> bool {
    known.get(relay).is_some_and(|until| issued <= *until)
}
