//! The home of a conference in the store, which says who owns its room and at which relay it is: reads, takes, writes and releases it.

use std::time::Duration;

use confab_protocol::control::ConferenceId;

use crate::cluster::nodes::Nodes;
use crate::cluster::nodes::members::Liveness;
use crate::random::jittered;
use crate::store::{HomePlace, HomeRecord, NodeRecord, Store, StoreError};

/// Most attempts to take a home that changes between reading and writing.
const ROUNDS: u32 = 8;
/// The longest pause before that.
const PAUSE: Duration = Duration::from_millis(40);

/// Who owns a room.
#[derive(Debug)]
pub(super) enum Owner {
    /// This node.
    Us(HomeRecord),
    /// Another node, which is alive.
    Other(NodeRecord),
    /// Another node, which may be dead.
    Doubted,
}

/// Makes this node the owner of the room, in a new era, unless the owner is another node that is alive.
pub(super) async fn take(
    store: &dyn Store,
    nodes: &Nodes,
    conference: ConferenceId,
) -> Result<Owner, StoreError> {
    for _ in 0..ROUNDS {
        let found = store.home(conference).await?;
        let owner = found.as_ref().and_then(|home| home.owner.as_ref());
        // What was this run's own is taken anew: nobody here knows of it any more.
        let other = owner.filter(|run| *run != nodes.me());
        if let Some(run) = other {
            match nodes.liveness(run) {
                Liveness::Alive(node) => return Ok(Owner::Other(node)),
                Liveness::Suspected => return Ok(Owner::Doubted),
                Liveness::Dead => {
                    tracing::info!(%conference, node = %run.name, "a dead node's room is taken over");
                }
            }
        }
        let is_takeover = other.is_some();
        let taken = HomeRecord {
            era: found.as_ref().map_or(0, |home| home.era) + 1,
            owner: Some(nodes.me().clone()),
            place: found.as_ref().and_then(|home| home.place.clone()),
        };
        match store.write_home(conference, found, taken.clone()).await {
            Ok(()) => {
                if is_takeover {
                    nodes.count_takeover();
                }
                return Ok(Owner::Us(taken));
            }
            Err(StoreError::Conflict) => tokio::time::sleep(jittered(PAUSE)).await,
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::Conflict)
}

/// The result of a write or a lookup of a home.
#[derive(Debug)]
pub enum Recorded {
    /// This node owns the room, and this is the home.
    Done(HomeRecord),
    /// Another node owns the room.
    Superseded,
    /// The store does not answer.
    Unknown(StoreError),
}

/// Writes the room's relay into its home.
pub(super) async fn record_place(
    store: &dyn Store,
    conference: ConferenceId,
    home: HomeRecord,
    place: HomePlace,
) -> Recorded {
    let placed = |home: &HomeRecord| HomeRecord {
        place: Some(place.clone()),
        ..home.clone()
    };
    change(store, conference, home, placed).await
}

/// Releases the room, so that the next node that is asked takes it. Removes the relay from the home if this node placed the room
/// (`was_placed`) and so has closed it.
pub(super) async fn let_go(
    store: &dyn Store,
    conference: ConferenceId,
    home: HomeRecord,
    was_placed: bool,
) -> Recorded {
    let without = |home: &HomeRecord| HomeRecord {
        era: home.era,
        owner: None,
        place: home.place.clone().filter(|_| !was_placed),
    };
    change(store, conference, home, without).await
}

/// Reads the home: whether this node still owns the room.
pub(super) async fn look(
    store: &dyn Store,
    conference: ConferenceId,
    home: &HomeRecord,
) -> Recorded {
    match store.home(conference).await {
        Ok(Some(found)) if is_ours(&found, home) => Recorded::Done(found),
        Ok(_) => Recorded::Superseded,
        Err(error) => Recorded::Unknown(error),
    }
}

async fn change(
    store: &dyn Store,
    conference: ConferenceId,
    mut home: HomeRecord,
    to: impl Fn(&HomeRecord) -> HomeRecord,
) -> Recorded {
    for _ in 0..ROUNDS {
        let new = to(&home);
        match store
            .write_home(conference, Some(home.clone()), new.clone())
            .await
        {
            Ok(()) => return Recorded::Done(new),
            // An earlier write whose outcome did not come back may have been done.
            Err(StoreError::Conflict) => match look(store, conference, &home).await {
                Recorded::Done(found) => home = found,
                other => return other,
            },
            Err(error) => return Recorded::Unknown(error),
        }
    }
    Recorded::Unknown(StoreError::Conflict)
}

fn is_ours(found: &HomeRecord, home: &HomeRecord) -> bool {
    found.era == home.era && found.owner == home.owner
}
