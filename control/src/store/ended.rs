//! Which of many sessions have ended.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{SessionId, Store, StoreError};
use crate::clock::Clock;

/// Sessions that are looked up at the same time: few, for nobody waits, and every node may be looking.
const AT_ONCE: usize = 8;

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
    let (mut asked, mut ended) = (JoinSet::new(), Vec::new());
    let mut sessions = sessions.into_iter();
    loop {
        while asked.len() < AT_ONCE
            && let Some(session) = sessions.next()
        {
            let (store, now) = (store.clone(), clock.now());
            asked.spawn(async move {
                let found = store.session(session, now).await?;
                Ok::<_, StoreError>(found.is_none().then_some(session))
            });
        }
        match asked.join_next().await {
            None => return Ok(ended),
            Some(Ok(found)) => ended.extend(found?),
            // A lookup that did not end is one whose answer is not known.
            Some(Err(_)) => return Err(StoreError::Busy),
        }
    }
}
