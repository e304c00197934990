//! A store of which it is counted what it was asked, what came of it and how long that took.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use confab_protocol::control::{AccountId, ConferenceId, Email, Slug, Username};

use super::{
    AccountRecord, ConferenceRecord, Cursor, HomeRecord, MemberRecord, Membership, NodeRecord,
    NodeRun, Page, Rotation, SessionId, SessionRecord, Standing, Store, StoreError, StoreFuture,
};
use crate::accounts::hashing::PasswordHash;
use crate::clock::UnixMillis;
use crate::cluster::RelayName;
use crate::metrics::Metrics;

/// The decorator.
pub struct MeteredStore {
    inner: Arc<dyn Store>,
    metrics: Metrics,
}

impl MeteredStore {
    /// Counts what `inner` is asked.
    pub fn new(inner: Arc<dyn Store>, metrics: Metrics) -> Self {
        Self { inner, metrics }
    }

    fn timed<'a, T: Send + 'a>(
        &'a self,
        operation: &'static str,
        work: StoreFuture<'a, T>,
    ) -> StoreFuture<'a, T> {
        let began = Instant::now();
        Box::pin(async move {
            let answer = work.await;
            let result = answer.as_ref().map_or_else(result_of, |_| "ok");
            let took = began.elapsed();
            self.metrics.store.observe(operation, result, took);
            answer
        })
    }
}

fn result_of(error: &StoreError) -> &'static str {
    match error {
        StoreError::Busy => "busy",
        StoreError::Unavailable(_) => "unavailable",
        StoreError::Corrupt(_) => "corrupt",
        StoreError::Taken(_)
        | StoreError::NotFound
        | StoreError::Conflict
        | StoreError::BadEra
        | StoreError::BadCursor => "refused",
    }
}

macro_rules! through {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($arg: $kind),*) -> StoreFuture<'_, $result> {
            self.timed(stringify!($name), self.inner.$name($($arg),*))
        })*
    };
}

impl Store for MeteredStore {
    through! {
        fn create_account(account: AccountRecord) -> ();
        fn account(id: AccountId) -> Option<AccountRecord>;
        fn account_by_username(name: Username) -> Option<AccountRecord>;
        fn account_by_email(email: Email) -> Option<AccountRecord>;
        fn set_password(id: AccountId, old: PasswordHash, new: PasswordHash) -> ();
        fn delete_account(id: AccountId) -> ();
        fn create_session(session: SessionRecord) -> ();
        fn session(id: SessionId, now: UnixMillis) -> Option<SessionRecord>;
        fn rotate_session(id: SessionId, presented: u32, rotation: Rotation) -> ();
        fn mark_used(id: SessionId, generation: u32) -> ();
        fn end_session(account: AccountId, id: SessionId) -> bool;
        fn sessions_of(account: AccountId, now: UnixMillis) -> Vec<SessionRecord>;
        fn end_sessions_of(account: AccountId, keep: Option<SessionId>) -> Vec<SessionId>;
        fn create_conference(conference: ConferenceRecord) -> ();
        fn conference(id: ConferenceId) -> Option<ConferenceRecord>;
        fn conference_by_slug(slug: Slug) -> Option<ConferenceRecord>;
        fn count_owned(account: AccountId) -> u64;
        fn conferences_of(account: AccountId, after: Option<Cursor>, limit: u32) -> Page<Membership>;
        fn delete_conference(id: ConferenceId) -> ();
        fn member(conference: ConferenceId, account: AccountId) -> Option<Standing>;
        fn members(conference: ConferenceId, after: Option<Cursor>, limit: u32) -> Page<MemberRecord>;
        fn count_members(conference: ConferenceId) -> u64;
        fn add_member(conference: ConferenceId, account: AccountId, standing: Standing) -> ();
        fn change_member(
            conference: ConferenceId, account: AccountId, old: Standing, new: Standing
        ) -> ();
        fn remove_member(conference: ConferenceId, account: AccountId, old: Standing) -> ();
        fn home(conference: ConferenceId) -> Option<HomeRecord>;
        fn beat(node: NodeRecord) -> ();
        fn nodes() -> Vec<NodeRecord>;
        fn forget_node(run: NodeRun) -> ();
        fn revoke_relay(relay: RelayName, until: UnixMillis) -> ();
        fn revoked_relays() -> Vec<(RelayName, UnixMillis)>;
        fn sweep(now: UnixMillis) -> u64;
    }

    fn write_home(
        &self,
        conference: ConferenceId,
        old: Option<HomeRecord>,
        new: HomeRecord,
    ) -> StoreFuture<'_, ()> {
        let owner = old.as_ref().and_then(|old| old.owner.as_ref());
        let is_takeover = owner.is_some() && new.owner.is_some() && owner != new.owner.as_ref();
        let write = self.inner.write_home(conference, old, new);
        let write = self.timed("write_home", write);
        Box::pin(async move {
            write.await?;
            if is_takeover {
                self.metrics.takeovers.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })
    }
}
