//! A store that reports each operation with its result and duration.

use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_e2ee::mls::identity::DevicePublicKey;
use confab_protocol::control::{AccountId, ConferenceId, Email, InvitationId, Slug, Username};

use super::{
    AccountRecord, ConferenceChange, ConferenceRecord, Cursor, GuestBan, HomeRecord,
    InvitationRecord, MemberRecord, Membership, NodeRecord, NodeRun, Page, Rotation, ServerId,
    SessionId, SessionRecord, Standing, Store, StoreError, StoreFuture,
};
use crate::clock::UnixMillis;
use crate::domain::{PasswordHash, Peer};

/// Passes each operation to an inner store, and reports it.
pub struct MeteredStore<F> {
    inner: Arc<dyn Store>,
    report: F,
}

impl<F: Fn(&'static str, &'static str, Duration) + Send + Sync + 'static> MeteredStore<F> {
    /// Calls `report(operation, result, duration)` after each operation of `inner`. The result is `ok`, `refused`, `busy`,
    /// `unavailable` or `corrupt`.
    pub fn new(inner: Arc<dyn Store>, report: F) -> Self {
        Self { inner, report }
    }

    fn timed<'a, T: Send + 'a>(
        &'a self,
        operation: &'static str,
        work: StoreFuture<'a, T>,
    ) -> StoreFuture<'a, T> {
        Box::pin(async move {
            let start = Instant::now();
            let answer = work.await;
            let result = answer.as_ref().map_or_else(result_of, |_| "ok");
            (self.report)(operation, result, start.elapsed());
            answer
        })
    }
}

fn result_of(error: &StoreError) -> &'static str {
    match error {
        StoreError::Busy => "busy",
        StoreError::Full | StoreError::Unavailable(_) => "unavailable",
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

impl<F: Fn(&'static str, &'static str, Duration) + Send + Sync + 'static> Store
    for MeteredStore<F>
{
    crate::for_each_store_operation!(through);

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }
}
