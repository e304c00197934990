//! Revoked identities of relays and nodes, for example after the theft of a key.
//!
//! The store has one time for each name: identities issued until then are revoked. An identity issued later under the same name
//! is valid. Nodes query the store when a relay or a node connects, and periodically.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::UnixMillis;
use crate::domain::{Peer, RelayName};
use crate::store::{Store, StoreError};

/// Time between two queries: the longest time that a link outlives the revocation of its identity.
const POLL_INTERVAL: Duration = Duration::from_secs(3);
/// Time limit of the query when a relay links. Without an answer the last known state applies.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

/// The revocations last read from the store. Clones share state.
#[derive(Clone)]
pub struct Revoked {
    store: Arc<dyn Store>,
    known: Arc<watch::Sender<HashMap<Peer, UnixMillis>>>,
}

impl Revoked {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            known: Arc::new(watch::Sender::new(HashMap::new())),
        }
    }

    /// Revokes all identities of the peer issued until `until`.
    pub async fn revoke(&self, peer: Peer, until: UnixMillis) -> Result<(), StoreError> {
        self.store.revoke(peer, until).await?;
        self.refresh().await
    }

    /// True if the relay's identity issued at `issued` is revoked. Queries the store.
    pub async fn refuses(&self, relay: &RelayName, issued: UnixMillis) -> bool {
        self.refuses_peer(&Peer::Relay(relay.clone()), issued).await
    }

    /// Resolves when the relay's identity issued at `issued` is revoked.
    pub async fn until_revoked(&self, relay: &RelayName, issued: UnixMillis) {
        let peer = Peer::Relay(relay.clone());
        self.until_peer_revoked(&peer, issued).await;
    }

    /// True if the peer's identity issued at `issued` is revoked. Queries the store.
    pub async fn refuses_peer(&self, peer: &Peer, issued: UnixMillis) -> bool {
        let refreshed = tokio::time::timeout(QUERY_TIMEOUT, self.refresh()).await;
        if !matches!(refreshed, Ok(Ok(()))) {
            tracing::warn!(%peer, "cannot read revoked identities from the store: using the last known state");
        }
        is_revoked(&self.known.borrow(), peer, issued)
    }

    /// Resolves when the peer's identity issued at `issued` is revoked.
    pub async fn until_peer_revoked(&self, peer: &Peer, issued: UnixMillis) {
        let mut known = self.known.subscribe();
        // Fails only when all clones are dropped, and `self` is one.
        let _ = known
            .wait_for(|known| is_revoked(known, peer, issued))
            .await;
    }

    /// Queries the store periodically, forever.
    pub async fn poll(self) {
        let mut turns = tokio::time::interval(POLL_INTERVAL);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            if let Err(error) = self.refresh().await {
                tracing::debug!(%error, "cannot read revoked identities from the store");
            }
        }
    }

    async fn refresh(&self) -> Result<(), StoreError> {
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
