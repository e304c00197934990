//! Claims the home of a conference's room for this run of the node.

use std::time::Duration;

use confab_protocol::control::ConferenceId;

use crate::random::jittered;
use crate::store::{HomeRecord, NodeRun, Store, StoreError};

/// How often a node tries to take a home that others take at the same moment.
const TRIES: u32 = 12;
/// The pause before it tries again, at first; it grows with each try.
const PAUSE: Duration = Duration::from_millis(5);

/// Takes the home, whoever has it, in the era after.
///
/// # Errors
///
/// [`StoreError::Conflict`] when others took it each time; else what the store says.
pub(super) async fn claim(
    store: &dyn Store,
    conference: ConferenceId,
    run: &NodeRun,
) -> Result<HomeRecord, StoreError> {
    for turn in 1..=TRIES {
        let old = store.home(conference).await?;
        let (last, place) = match &old {
            None => (0, None),
            Some(old) => (old.era, old.place.clone()),
        };
        let new = HomeRecord {
            era: last.checked_add(1).ok_or(StoreError::BadEra)?,
            owner: Some(run.clone()),
            place,
        };
        match store.write_home(conference, old, new.clone()).await {
            Ok(()) => return Ok(new),
            Err(StoreError::Conflict) => tokio::time::sleep(jittered(PAUSE * turn)).await,
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::Conflict)
}
