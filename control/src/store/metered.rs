//! A store of which it is counted what it was asked, what came of it and how long that took.

use std::sync::Arc;
use std::time::Instant;

use confab_protocol::control::{AccountId, ConferenceId, Email, Slug, Username};

use super::{
    AccountRecord, ConferenceRecord, Cursor, HomeRecord, MemberRecord, Membership, NodeRecord,
    NodeRun, Page, Rotation, ServerId, SessionId, SessionRecord, Standing, Store, StoreError,
    StoreFuture,
};
use crate::clock::UnixMillis;
use crate::domain::{PasswordHash, Peer};
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
        Box::pin(async move {
            let began = Instant::now();
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
    crate::for_each_store_operation!(through);
}
