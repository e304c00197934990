//! Identities of relays and nodes that are not good any more: a key was stolen, or a machine is given away.
//!
//! The store keeps, for each of them, until when its identities were revoked. One that was made later is good: so it
//! keeps its name. Nodes look it up when a relay or node connects, and every few seconds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::UnixMillis;
use crate::domain::{Peer, RelayName};
use crate::store::{Store, StoreError};

/// Time between two looks at the store: so long a revoked relay's link may outlive its identity.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);
/// A relay that links waits so long for the store. If it does not answer, what it said last counts.
const LOOK_DEADLINE: Duration = Duration::from_secs(2);

/// What is revoked, as the store said last. Clones share it.
#[derive(Clone)]
pub struct Revoked {
    store: Arc<dyn Store>,
    known: Arc<watch::Sender<HashMap<Peer, UnixMillis>>>,
}

impl Revoked {
    /// Nothing is known yet.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            known: Arc::new(watch::Sender::new(HashMap::new())),
        }
    }

    /// Revokes the peer's identities that were made until then.
    pub async fn revoke(&self, peer: Peer, until: UnixMillis) -> Result<(), StoreError> {
        self.store.revoke(peer, until).await?;
        self.look().await
    }

    /// Whether a relay that links with an identity that was made then is to be refused.
    pub async fn refuses(&self, relay: &RelayName, issued: UnixMillis) -> bool {
        self.refuses_peer(&Peer::Relay(relay.clone()), issued).await
    }

    /// Resolves when that identity of the relay is revoked.
    pub async fn until_revoked(&self, relay: &RelayName, issued: UnixMillis) {
        let peer = Peer::Relay(relay.clone());
        self.until_peer_revoked(&peer, issued).await;
    }

    /// Whether one who connects with an identity that was made then is to be refused.
    pub async fn refuses_peer(&self, peer: &Peer, issued: UnixMillis) -> bool {
        let looked = tokio::time::timeout(LOOK_DEADLINE, self.look()).await;
        if !matches!(looked, Ok(Ok(()))) {
            tracing::warn!(%peer, "the store does not say which identities are revoked; what it said last counts");
        }
        is_revoked(&self.known.borrow(), peer, issued)
    }

    /// Resolves when that identity is revoked.
    pub async fn until_peer_revoked(&self, peer: &Peer, issued: UnixMillis) {
        let mut known = self.known.subscribe();
        // Ends otherwise only with the last clone of this, and `self` is one.
        let _ = known
            .wait_for(|known| is_revoked(known, peer, issued))
            .await;
    }

    /// Looks at the store for as long as the node lives.
    pub async fn watch(self) {
        let mut turns = tokio::time::interval(LOOK_INTERVAL);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "which identities are revoked could not be looked up");
            }
        }
    }

    async fn look(&self) -> Result<(), StoreError> {
        let listed: HashMap<_, _> = self.store.revoked().await?.into_iter().collect();
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

fn is_revoked(known: &HashMap<Peer, UnixMillis>, peer: &Peer, issued: UnixMillis) -> bool {
    known.get(peer).is_some_and(|until| issued <= *until)
}
