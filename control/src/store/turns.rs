//! A store that limits the concurrent operations of each account, so that one account's requests wait for one another and for no
//! other's.

use std::sync::Arc;

use confab_e2ee::mls::identity::DevicePublicKey;
use confab_protocol::control::{AccountId, ConferenceId, Email, InvitationId, Slug, Username};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    AccountRecord, ConferenceChange, ConferenceRecord, Cursor, GuestBan, HomeRecord,
    InvitationRecord, MemberRecord, Membership, NodeRecord, NodeRun, Page, Recalled, Rotation,
    ServerId, SessionId, SessionRecord, Standing, Store, StoreFuture,
};
use crate::clock::UnixMillis;
use crate::domain::{PasswordHash, Peer};

tokio::task_local! {
    /// One permit for each operation that the current task may have under way.
    static TURNS: Arc<Semaphore>;
}

/// Runs `work`. Each of its operations holds a permit of `turns`.
pub async fn within<F: Future>(turns: Arc<Semaphore>, work: F) -> F::Output {
    TURNS.scope(turns, work).await
}

/// Passes each operation to an inner store. It is the outermost decorator, so that the measured durations exclude the wait for a turn.
pub struct TurnsStore {
    inner: Arc<dyn Store>,
}

impl TurnsStore {
    /// Passes operations to `inner`.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner }
    }
}

/// The permit for one operation; `None` in a task without a limit.
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

    /// The largest number of concurrent operations when fifty begin at the same time.
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
