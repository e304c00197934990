//! Who owns a room: reads the conference's home, takes it, says where the media is, and lets it go.

use std::time::Duration;

use confab_protocol::control::ConferenceId;

use crate::cluster::nodes::Nodes;
use crate::cluster::nodes::members::Liveness;
use crate::random::jittered;
use crate::store::{HomePlace, HomeRecord, NodeRecord, Store, StoreError};

/// How often a home is read again because it was changed between reading and writing.
const ROUNDS: u32 = 8;
/// The longest pause before that.
const PAUSE: Duration = Duration::from_millis(40);

/// Who owns a room.
#[derive(Debug)]
pub(super) enum Owner {
    /// This node, from now on or still.
    Us(HomeRecord),
    /// Another node, which lives.
    Other(NodeRecord),
    /// Another node, of which nobody knows whether it lives.
    Doubted,
}

/// Takes the room for this node unless another one that lives has it. Its era is one that nobody had before.
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

/// How it went to write a home that this node has.
#[derive(Debug)]
pub enum Recorded {
    /// It is so.
    Done(HomeRecord),
    /// Another node has the room.
    Superseded,
    /// The store does not say.
    Unknown(StoreError),
}

/// Writes where the media of this node's room is.
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

/// Lets this node's room go, so that whoever is asked for it first may have it. Where the media is is struck out if it
/// `was_placed` by this node, which has closed it then.
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

/// Whether the room still is this node's, as the store knows it.
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
