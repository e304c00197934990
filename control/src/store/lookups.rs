//! Many lookups with a limit of concurrent ones.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{SessionId, Store, StoreError};
use crate::clock::Clock;

/// Concurrent lookups of sessions. Few, because no client waits, and every node may do the same at this time.
const SESSIONS_AT_ONCE: usize = 8;

/// The results of all `lookups`, in any order, with at most `at_once` of them under way.
///
/// # Errors
///
/// The first one.
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
            // The lookup panicked or was cancelled.
            Some(Err(_)) => return Err(StoreError::Busy),
        }
    }
}

/// The ones among `sessions` that have ended.
///
/// # Errors
///
/// The first error of a lookup.
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
