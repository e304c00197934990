//! Many lookups at a time, but not too many.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{SessionId, Store, StoreError};
use crate::clock::Clock;

/// Sessions that are looked up at the same time: few, for nobody waits, and every node may be looking.
const SESSIONS_AT_ONCE: usize = 8;

/// What all of `lookups` find, in any order, so many under way at a time.
///
/// # Errors
///
/// The first that it met.
pub async fn look_up_all<T, F>(
    at_once: usize,
    mut lookups: impl Iterator<Item = F>,
) -> Result<Vec<T>, StoreError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    let (mut asked, mut found) = (JoinSet::new(), Vec::new());
    loop {
        while asked.len() < at_once
            && let Some(lookup) = lookups.next()
        {
            asked.spawn(lookup);
        }
        match asked.join_next().await {
            None => return Ok(found),
            Some(Ok(answer)) => found.push(answer?),
            // A lookup that did not end is one whose answer is not known.
            Some(Err(_)) => return Err(StoreError::Busy),
        }
    }
}

/// Those of `sessions` that have ended, as the store says.
///
/// # Errors
///
/// The first that it met.
pub async fn ended_of(
    store: &Arc<dyn Store>,
    clock: &Clock,
    sessions: Vec<SessionId>,
) -> Result<Vec<SessionId>, StoreError> {
    let lookups = sessions.into_iter().map(|session| {
        let (store, now) = (store.clone(), clock.now());
        async move {
            let found = store.session(session, now).await?;
            Ok(found.is_none().then_some(session))
        }
    });
    let ended = look_up_all(SESSIONS_AT_ONCE, lookups).await?;
    Ok(ended.into_iter().flatten().collect())
}
