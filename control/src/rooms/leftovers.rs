//! Closes leftover rooms at relays; see [`crate::cluster::leftovers`].

use std::time::{Duration, Instant};

use confab_protocol::cluster::Fence;
use confab_protocol::control::ConferenceId;
use tokio::task::JoinSet;

use super::ask::{Ask, Outcome};
use super::errors::LeftoverError;
use super::former_relays::GIVEN_UP;
use super::registry::Rooms;
use super::relay_request;
use crate::cluster::LinkedRelay;

/// Time between two searches for leftovers that are due.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// The longest pause after a leftover could not be closed.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Leftovers that are closed at the same time.
const CLOSED_AT_ONCE: usize = 16;

impl Rooms {
    /// Closes the leftovers of the conference, now and whenever a relay links with one. False if a relay has not closed its leftover for so
    /// long that a request does not wait for it any more.
    pub(super) async fn close_leftovers(
        &self,
        conference: ConferenceId,
    ) -> Result<bool, LeftoverError> {
        let relays = &self.shared.relays;
        // First the note: the sweep closes the leftovers of a relay that links right after the search.
        relays.note_moderated(conference);
        let mut are_closed = true;
        for (relay, since) in relays.leftovers_of(conference) {
            match self.close_leftover(&relay, conference).await {
                Ok(()) => {}
                Err(_) if since.elapsed() >= GIVEN_UP => are_closed = false,
                Err(error) => return Err(error),
            }
        }
        Ok(are_closed)
    }

    /// Closes leftovers as they become due, for as long as the node runs.
    pub async fn sweep_leftovers(self) {
        let mut wait = LOOK_INTERVAL;
        loop {
            tokio::time::sleep(wait).await;
            let due = self.shared.relays.due_leftovers(Instant::now());
            let mut closing = JoinSet::new();
            let mut failed = None;
            for (relay, conference) in due {
                if closing.len() >= CLOSED_AT_ONCE {
                    failed = failed.or(next_failure(&mut closing).await);
                }
                let rooms = self.clone();
                closing.spawn(async move { rooms.close_leftover(&relay, conference).await });
            }
            while !closing.is_empty() {
                failed = failed.or(next_failure(&mut closing).await);
            }
            wait = match failed {
                None => LOOK_INTERVAL,
                Some(error) => {
                    if wait == LOOK_INTERVAL {
                        tracing::warn!(?error, "leftover rooms stay for now");
                    }
                    (wait * 2).min(MAX_WAIT)
                }
            };
        }
    }

    /// Closes a leftover under an era of this node, unless another node owns the room: that one closes it.
    async fn close_leftover(
        &self,
        relay: &LinkedRelay,
        conference: ConferenceId,
    ) -> Result<(), LeftoverError> {
        let relay_to_ask = relay.clone();
        let asked = self.ask(conference, |answer| Ask::CloseLeftover {
            relay: relay_to_ask,
            answer,
        });
        match asked.await {
            Ok(Outcome::Here(()) | Outcome::Elsewhere(_)) => {}
            Ok(Outcome::Again) => return Err(LeftoverError::NotClosed),
            Err(LeftoverError::NoConference) => self.close_deleted(relay, conference).await?,
            Err(error) => return Err(error),
        }
        self.shared.relays.leftover_closed(relay, conference);
        Ok(())
    }

    /// Closes the leftover of a deleted conference, under an era above that of every owner. A conference that never had an owner has no
    /// sessions at any relay.
    async fn close_deleted(
        &self,
        relay: &LinkedRelay,
        conference: ConferenceId,
    ) -> Result<(), LeftoverError> {
        let Some(home) = self.shared.store.home(conference).await? else {
            return Ok(());
        };
        let fence = Fence {
            era: home.era.saturating_add(1),
            placement: 0,
        };
        relay_request::close(&self.shared.relays, relay, conference, fence).await
    }
}

/// The error of the next task that ends; `None` if it closed its leftover.
async fn next_failure(closing: &mut JoinSet<Result<(), LeftoverError>>) -> Option<LeftoverError> {
    closing.join_next().await?.ok()?.err()
}
