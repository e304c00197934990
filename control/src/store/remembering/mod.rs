//! A store that goes on answering what this node has just heard while the database below it does not.
//!
//! Signed-in people are to get into live rooms while the database is down. So what reads and writes of this node have shown of
//! sessions, accounts, conferences and standings is kept for [`KEPT_FOR`], and given to whoever asks for it by one of the
//! `recall_` operations of [`Store`]: a sign-in by token, or a join to a room that is here. Everything else, whose room it is
//! above all, is only ever what the database says.
//!
//! * `memory`: what is kept, without I/O; `recent`: maps that never grow beyond a size;
//! * `breaker`: who still waits for a database that is down.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use confab_protocol::control::{AccountId, ConferenceId, Email, Slug, Username};

use super::{
    AccountRecord, ConferenceRecord, Cursor, HomeRecord, MemberRecord, Membership, NodeRecord,
    NodeRun, Page, Recalled, Rotation, SessionId, SessionRecord, Standing, Store, StoreError,
    StoreFuture,
};
use crate::accounts::hashing::PasswordHash;
use crate::clock::UnixMillis;
use crate::cluster::RelayName;

mod breaker;
mod memory;
mod recent;

use breaker::{Breaker, Way};
use memory::{Key, Memory};

pub use memory::KEPT_FOR;

/// So long the database is waited for by those who could be answered from memory.
const PATIENCE: Duration = Duration::from_secs(1);

/// The decorator. Clones share what is kept.
#[derive(Clone)]
pub struct RememberingStore {
    inner: Arc<dyn Store>,
    memory: Arc<Mutex<Memory>>,
    breaker: Arc<Mutex<Breaker>>,
}

impl RememberingStore {
    /// Nothing is kept yet of what `inner` says.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            memory: Arc::default(),
            breaker: Arc::default(),
        }
    }

    /// Whether those who can be answered from memory are, at once, because the database did not answer lately.
    pub fn is_open(&self) -> bool {
        self.breaker().is_open()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the breaker learn from an answer.
    fn judge<T>(&self, answer: &Result<T, StoreError>) {
        match answer {
            Err(StoreError::Unavailable(_)) => self.breaker().failed(Instant::now()),
            // It was never asked.
            Err(StoreError::Busy) => {}
            _ => self.breaker().answered(),
        }
    }

    /// Reads what may be kept.
    async fn read<T: Clone>(
        &self,
        key: Key,
        read: StoreFuture<'_, Option<T>>,
        keep: impl FnOnce(&mut Memory, memory::Since, Option<&T>),
    ) -> Result<Option<T>, StoreError> {
        let since = self.memory().since(key);
        let answer = read.await;
        self.judge(&answer);
        let found = answer?;
        keep(&mut self.memory(), since, found.as_ref());
        Ok(found)
    }

    /// Writes what may be kept: what was known of it is forgotten before, and what is learned by it is kept if nobody else
    /// has written it meanwhile.
    async fn write<T>(
        &self,
        key: Key,
        write: StoreFuture<'_, T>,
        keep: impl FnOnce(&mut Memory, memory::Since, &T),
    ) -> Result<T, StoreError> {
        let since = self.memory().change(key);
        let answer = write.await;
        let mut memory = self.memory();
        if let Ok(written) = &answer {
            keep(&mut memory, since, written);
        }
        // Who read it while it was written may have read what was there before.
        memory.disturb(key);
        answer
    }

    /// Answers from memory if `known` gives something and the database does not answer, else as the database does.
    async fn recall<T: Send + 'static>(
        &self,
        known: impl Fn(&mut Memory) -> Option<T>,
        read: impl Future<Output = Result<Option<T>, StoreError>> + Send + 'static,
    ) -> Result<Option<Recalled<T>>, StoreError> {
        let fresh = |value| Recalled {
            value,
            from_memory: false,
        };
        let from_memory = |value| Recalled {
            value,
            from_memory: true,
        };
        let Some(value) = known(&mut self.memory()) else {
            return Ok(read.await?.map(fresh));
        };
        let way = self.breaker().way(Instant::now());
        match way {
            Way::Memory => return Ok(Some(from_memory(value))),
            Way::MemoryAndProbe => {
                tokio::spawn(read);
                return Ok(Some(from_memory(value)));
            }
            Way::Database => {}
        }
        let error = match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(found)) => return Ok(found.map(fresh)),
            Ok(Err(error)) if !error.is_outage() => return Err(error),
            Ok(Err(error)) => error,
            Err(_) => {
                self.breaker().failed(Instant::now());
                StoreError::Unavailable(format!("no answer within {} s", PATIENCE.as_secs()))
            }
        };
        // It may have ended while the database was waited for.
        match known(&mut self.memory()) {
            Some(value) => Ok(Some(from_memory(value))),
            None => Err(error),
        }
    }
}

macro_rules! through {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($arg: $kind),*) -> StoreFuture<'_, $result> {
            self.inner.$name($($arg),*)
        })*
    };
}

impl Store for RememberingStore {
    through! {
        fn sessions_of(account: AccountId, now: UnixMillis) -> Vec<SessionRecord>;
        fn count_owned(account: AccountId) -> u64;
        fn conferences_of(account: AccountId, after: Option<Cursor>, limit: u32) -> Page<Membership>;
        fn members(conference: ConferenceId, after: Option<Cursor>, limit: u32) -> Page<MemberRecord>;
        fn count_members(conference: ConferenceId) -> u64;
        fn home(conference: ConferenceId) -> Option<HomeRecord>;
        fn beat(node: NodeRecord) -> ();
        fn forget_node(run: NodeRun) -> ();
        fn revoke_relay(relay: RelayName, until: UnixMillis) -> ();
        fn revoked_relays() -> Vec<(RelayName, UnixMillis)>;
        fn sweep(now: UnixMillis) -> u64;
    }

    /// Looked at every second, so it is also how this node notices that the database answers again.
    fn nodes(&self) -> StoreFuture<'_, Vec<NodeRecord>> {
        Box::pin(async move {
            let answer = self.inner.nodes().await;
            self.judge(&answer);
            answer
        })
    }

    fn create_account(&self, account: AccountRecord) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let write = self.inner.create_account(account.clone());
            self.write(Key::Account(account.id), write, |memory, since, ()| {
                memory.keep_account(Instant::now(), since, &account);
            })
            .await
        })
    }

    fn account(&self, id: AccountId) -> StoreFuture<'_, Option<AccountRecord>> {
        Box::pin(async move {
            let read = self.inner.account(id);
            self.read(Key::Account(id), read, |memory, since, found| match found {
                Some(account) => memory.keep_account(Instant::now(), since, account),
                None => memory.forget_account(id),
            })
            .await
        })
    }

    fn account_by_username(&self, name: Username) -> StoreFuture<'_, Option<AccountRecord>> {
        self.inner.account_by_username(name)
    }

    fn account_by_email(&self, email: Email) -> StoreFuture<'_, Option<AccountRecord>> {
        self.inner.account_by_email(email)
    }

    fn set_password(
        &self,
        id: AccountId,
        old: PasswordHash,
        new: PasswordHash,
    ) -> StoreFuture<'_, ()> {
        let write = self.inner.set_password(id, old, new);
        Box::pin(self.write(Key::Account(id), write, |_, _, ()| ()))
    }

    fn delete_account(&self, id: AccountId) -> StoreFuture<'_, ()> {
        let write = self.inner.delete_account(id);
        Box::pin(self.write(Key::AllOf(id), write, |_, _, ()| ()))
    }

    fn create_session(&self, session: SessionRecord) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let write = self.inner.create_session(session.clone());
            self.write(Key::Session(session.id), write, |memory, since, ()| {
                memory.keep_session(Instant::now(), since, &session);
            })
            .await
        })
    }

    fn session(&self, id: SessionId, now: UnixMillis) -> StoreFuture<'_, Option<SessionRecord>> {
        Box::pin(async move {
            let read = self.inner.session(id, now);
            self.read(Key::Session(id), read, |memory, since, found| match found {
                Some(session) => memory.keep_session(Instant::now(), since, session),
                None => memory.forget_session(id),
            })
            .await
        })
    }

    fn rotate_session(
        &self,
        id: SessionId,
        presented: u32,
        rotation: Rotation,
    ) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let before = self.memory().session_at(id, presented);
            let write = self.inner.rotate_session(id, presented, rotation);
            self.write(Key::Session(id), write, |memory, since, ()| {
                if let Some(session) = before {
                    let session = SessionRecord {
                        generation: presented + 1,
                        secret_hash: rotation.secret_hash,
                        used: false,
                        rotated: rotation.rotated,
                        expires: rotation.expires,
                        ..session
                    };
                    memory.keep_session(Instant::now(), since, &session);
                }
            })
            .await
        })
    }

    fn mark_used(&self, id: SessionId, generation: u32) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let before = self.memory().session_at(id, generation);
            let write = self.inner.mark_used(id, generation);
            let answer = self
                .write(Key::Session(id), write, |memory, since, ()| {
                    if let Some(session) = before.clone() {
                        let session = SessionRecord {
                            used: true,
                            ..session
                        };
                        memory.keep_session(Instant::now(), since, &session);
                    }
                })
                .await;
            answer
        })
    }

    fn end_session(&self, account: AccountId, id: SessionId) -> StoreFuture<'_, bool> {
        let write = self.inner.end_session(account, id);
        Box::pin(self.write(Key::Session(id), write, |_, _, _| ()))
    }

    fn end_sessions_of(
        &self,
        account: AccountId,
        keep: Option<SessionId>,
    ) -> StoreFuture<'_, Vec<SessionId>> {
        // Which they are is known afterwards, if ever: all of the account are looked up anew.
        let write = self.inner.end_sessions_of(account, keep);
        Box::pin(self.write(Key::AllOf(account), write, |_, _, _| ()))
    }

    fn create_conference(&self, conference: ConferenceRecord) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let write = self.inner.create_conference(conference.clone());
            self.write(
                Key::Conference(conference.id),
                write,
                |memory, since, ()| {
                    memory.keep_conference(Instant::now(), since, &conference);
                },
            )
            .await
        })
    }

    fn conference(&self, id: ConferenceId) -> StoreFuture<'_, Option<ConferenceRecord>> {
        Box::pin(async move {
            let read = self.inner.conference(id);
            self.read(
                Key::Conference(id),
                read,
                |memory, since, found| match found {
                    Some(conference) => memory.keep_conference(Instant::now(), since, conference),
                    None => memory.forget_conference(id),
                },
            )
            .await
        })
    }

    fn conference_by_slug(&self, slug: Slug) -> StoreFuture<'_, Option<ConferenceRecord>> {
        Box::pin(async move {
            let read = self.inner.conference_by_slug(slug.clone());
            self.read(Key::Slugs, read, |memory, since, found| match found {
                Some(conference) => memory.keep_conference(Instant::now(), since, conference),
                None => memory.forget_slug(&slug),
            })
            .await
        })
    }

    fn delete_conference(&self, id: ConferenceId) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let write = self.inner.delete_conference(id);
            let answer = self.write(Key::Conference(id), write, |_, _, ()| ()).await;
            // Who looks a slug up does not know yet which conference it is.
            self.memory().disturb(Key::Slugs);
            answer
        })
    }

    fn member(
        &self,
        conference: ConferenceId,
        account: AccountId,
    ) -> StoreFuture<'_, Option<Standing>> {
        Box::pin(async move {
            let key = Key::Member(conference, account);
            let read = self.inner.member(conference, account);
            self.read(key, read, |memory, since, found| match found {
                Some(standing) => {
                    memory.keep_member(Instant::now(), since, (conference, account), *standing);
                }
                None => memory.forget_member(conference, account),
            })
            .await
        })
    }

    fn add_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        standing: Standing,
    ) -> StoreFuture<'_, ()> {
        let write = self.inner.add_member(conference, account, standing);
        let key = Key::Member(conference, account);
        Box::pin(self.write(key, write, move |memory, since, ()| {
            memory.keep_member(Instant::now(), since, (conference, account), standing);
        }))
    }

    fn change_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Standing,
        new: Standing,
    ) -> StoreFuture<'_, ()> {
        let write = self.inner.change_member(conference, account, old, new);
        let key = Key::Member(conference, account);
        Box::pin(self.write(key, write, move |memory, since, ()| {
            memory.keep_member(Instant::now(), since, (conference, account), new);
        }))
    }

    fn remove_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Standing,
    ) -> StoreFuture<'_, ()> {
        let write = self.inner.remove_member(conference, account, old);
        let key = Key::Member(conference, account);
        Box::pin(self.write(key, write, |_, _, ()| ()))
    }

    fn write_home(
        &self,
        conference: ConferenceId,
        old: Option<HomeRecord>,
        new: HomeRecord,
    ) -> StoreFuture<'_, ()> {
        let is_taken = old.as_ref().is_none_or(|old| new.era > old.era);
        let write = self.inner.write_home(conference, old, new);
        Box::pin(async move {
            if !is_taken {
                return write.await;
            }
            // While the room was another node's, standings were changed there.
            let key = Key::Members(conference);
            self.write(key, write, |_, _, ()| ()).await
        })
    }

    fn recall_session(
        &self,
        id: SessionId,
        now: UnixMillis,
    ) -> StoreFuture<'_, Option<Recalled<SessionRecord>>> {
        let store = self.clone();
        let read = async move { store.session(id, now).await };
        let known = move |memory: &mut Memory| memory.session(Instant::now(), id, now);
        Box::pin(self.recall(known, read))
    }

    fn recall_account(&self, id: AccountId) -> StoreFuture<'_, Option<Recalled<AccountRecord>>> {
        let store = self.clone();
        let read = async move { store.account(id).await };
        let known = move |memory: &mut Memory| memory.account(Instant::now(), id);
        Box::pin(self.recall(known, read))
    }

    fn recall_conference(
        &self,
        id: ConferenceId,
    ) -> StoreFuture<'_, Option<Recalled<ConferenceRecord>>> {
        let store = self.clone();
        let read = async move { store.conference(id).await };
        let known = move |memory: &mut Memory| memory.conference(Instant::now(), id);
        Box::pin(self.recall(known, read))
    }

    fn recall_conference_by_slug(
        &self,
        slug: Slug,
    ) -> StoreFuture<'_, Option<Recalled<ConferenceRecord>>> {
        let (store, asked) = (self.clone(), slug.clone());
        let read = async move { store.conference_by_slug(asked).await };
        let known = move |memory: &mut Memory| memory.conference_by_slug(Instant::now(), &slug);
        Box::pin(self.recall(known, read))
    }

    fn recall_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
    ) -> StoreFuture<'_, Option<Recalled<Standing>>> {
        let store = self.clone();
        let read = async move { store.member(conference, account).await };
        let known = move |memory: &mut Memory| memory.member(Instant::now(), conference, account);
        Box::pin(self.recall(known, read))
    }

    fn forget_session(&self, id: SessionId) {
        self.memory().change(Key::Session(id));
    }

    fn forget_sessions(&self) {
        self.memory().forget_sessions();
    }

    fn is_answering(&self) -> bool {
        !self.is_open()
    }
}
