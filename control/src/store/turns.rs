//! A store that carries out so many statements at a time for one account: whoever asks more waits for its own, and for nobody else's.

use std::sync::Arc;

use confab_protocol::control::{AccountId, ConferenceId, Email, Slug, Username};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    AccountRecord, ConferenceRecord, Cursor, HomeRecord, MemberRecord, Membership, NodeRecord,
    NodeRun, Page, Recalled, Rotation, ServerId, SessionId, SessionRecord, Standing, Store,
    StoreFuture,
};
use crate::clock::UnixMillis;
use crate::domain::{PasswordHash, Peer};

tokio::task_local! {
    /// A permit for each statement of those who are served within.
    static TURNS: Arc<Semaphore>;
}

/// Does `work`, whose statements take turns by `turns`.
pub async fn within<F: Future>(turns: Arc<Semaphore>, work: F) -> F::Output {
    TURNS.scope(turns, work).await
}

/// The decorator. It stands before all others: one that measures how long the store takes is not to count the waiting.
pub struct TurnsStore {
    inner: Arc<dyn Store>,
}

impl TurnsStore {
    /// Before `inner`.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner }
    }
}

/// Held while a statement is carried out. `None`: nobody waits for a turn.
async fn turn() -> Option<OwnedSemaphorePermit> {
    let turns = TURNS.try_with(Arc::clone).ok()?;
    turns.acquire_owned().await.ok()
}

macro_rules! in_turn {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($arg: $kind),*) -> StoreFuture<'_, $result> {
            Box::pin(async move {
                let _turn = turn().await;
                self.inner.$name($($arg),*).await
            })
        })*
    };
}

impl Store for TurnsStore {
    crate::for_each_store_operation!(in_turn);

    in_turn! {
        fn recall_session(id: SessionId, now: UnixMillis) -> Option<Recalled<SessionRecord>>;
        fn recall_account(id: AccountId) -> Option<Recalled<AccountRecord>>;
        fn recall_conference(id: ConferenceId) -> Option<Recalled<ConferenceRecord>>;
        fn recall_conference_by_slug(slug: Slug) -> Option<Recalled<ConferenceRecord>>;
        fn recall_member(conference: ConferenceId, account: AccountId) -> Option<Recalled<Standing>>;
    }

    fn forget_session(&self, id: SessionId) {
        self.inner.forget_session(id);
    }

    fn forget_sessions(&self) {
        self.inner.forget_sessions();
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn is_answering(&self) -> bool {
        self.inner.is_answering()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    /// How many statements there are at a time, at most, when fifty are asked for at once.
    async fn most_at_once(turns: Option<Arc<Semaphore>>) -> usize {
        let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let statement = || {
            let counts = counts.clone();
            async move {
                let _turn = turn().await;
                let [now, most] = &*counts;
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(20)).await;
                now.fetch_sub(1, Ordering::SeqCst);
            }
        };
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..50 {
            match turns.clone() {
                Some(turns) => asked.spawn(within(turns, statement())),
                None => asked.spawn(statement()),
            };
        }
        while asked.join_next().await.is_some() {}
        counts[1].load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn statements_of_one_account_take_turns_and_others_do_not_wait() {
        assert_eq!(most_at_once(Some(Arc::new(Semaphore::new(8)))).await, 8);
        assert_eq!(most_at_once(None).await, 50);
    }
}
