//! The store in one file, for one machine: SQLite with a write-ahead log.
//!
//! * `threads`: one thread that writes and some that read, behind bounded queues;
//! * `schema`: tables and their migrations;
//! * `accounts`, `conferences`, `homes`: the statements.

use std::path::Path;

use bytes::Bytes;
use confab_protocol::control::{AccountId, ConferenceId, Email, Slug, Username};
use rusqlite::types::Type;

use super::{
    AccountRecord, ConferenceRecord, Cursor, HomeRecord, MemberRecord, Membership, NodeRecord,
    NodeRun, Page, Rotation, ServerId, SessionId, SessionRecord, Standing, Store, StoreError,
    StoreFuture,
};
use crate::clock::UnixMillis;
use crate::domain::{PasswordHash, Peer};

mod accounts;
mod conferences;
mod homes;
mod schema;
mod threads;

/// Sessions that a sweep looks at before it lets other writes through.
const SWEEP_STEP: u32 = 2000;

/// The embedded store. Clones share it; the last one to go closes it.
#[derive(Clone)]
pub struct SqliteStore {
    threads: threads::Threads,
}

impl SqliteStore {
    /// Opens the file, makes it when it is missing and brings its tables up to date.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the file cannot be opened or written, or a newer program has written it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        make_private(path).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let mut writer = schema::connect(path)?;
        schema::migrate(&mut writer)?;
        let threads = threads::Threads::start(writer, || schema::connect_to_read(path))?;
        Ok(Self { threads })
    }
}

impl Store for SqliteStore {
    fn server(&self) -> StoreFuture<'_, Option<ServerId>> {
        self.threads.read(homes::server)
    }

    fn claim(&self, server: ServerId) -> StoreFuture<'_, ServerId> {
        self.threads.write(move |db| homes::claim(db, server))
    }

    fn create_account(&self, account: AccountRecord) -> StoreFuture<'_, ()> {
        self.threads.write(move |db| accounts::create(db, &account))
    }

    fn account(&self, id: AccountId) -> StoreFuture<'_, Option<AccountRecord>> {
        self.threads.read(move |db| accounts::by_id(db, id))
    }

    fn account_by_username(&self, name: Username) -> StoreFuture<'_, Option<AccountRecord>> {
        self.threads
            .read(move |db| accounts::by_username(db, &name))
    }

    fn account_by_email(&self, email: Email) -> StoreFuture<'_, Option<AccountRecord>> {
        self.threads.read(move |db| accounts::by_email(db, &email))
    }

    fn set_password(
        &self,
        id: AccountId,
        old: PasswordHash,
        new: PasswordHash,
    ) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| accounts::set_password(db, id, &old, &new))
    }

    fn delete_account(&self, id: AccountId, _now: UnixMillis) -> StoreFuture<'_, ()> {
        self.threads.write(move |db| accounts::delete(db, id))
    }

    fn create_session(&self, session: SessionRecord) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| accounts::create_session(db, &session))
    }

    fn session(&self, id: SessionId, now: UnixMillis) -> StoreFuture<'_, Option<SessionRecord>> {
        self.threads.read(move |db| accounts::session(db, id, now))
    }

    fn rotate_session(
        &self,
        id: SessionId,
        presented: u32,
        rotation: Rotation,
    ) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| accounts::rotate_session(db, id, presented, rotation))
    }

    fn mark_used(&self, id: SessionId, generation: u32) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| accounts::mark_used(db, id, generation))
    }

    fn end_session(&self, account: AccountId, id: SessionId) -> StoreFuture<'_, bool> {
        self.threads
            .write(move |db| accounts::end_session(db, account, id))
    }

    fn sessions_of(
        &self,
        account: AccountId,
        now: UnixMillis,
    ) -> StoreFuture<'_, Vec<SessionRecord>> {
        self.threads
            .read(move |db| accounts::sessions_of(db, account, now))
    }

    fn end_sessions_of(
        &self,
        account: AccountId,
        keep: Option<SessionId>,
    ) -> StoreFuture<'_, Vec<SessionId>> {
        self.threads
            .write(move |db| accounts::end_sessions_of(db, account, keep))
    }

    fn create_conference(&self, conference: ConferenceRecord) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| conferences::create(db, &conference))
    }

    fn conference(&self, id: ConferenceId) -> StoreFuture<'_, Option<ConferenceRecord>> {
        self.threads.read(move |db| conferences::by_id(db, id))
    }

    fn conference_by_slug(&self, slug: Slug) -> StoreFuture<'_, Option<ConferenceRecord>> {
        self.threads.read(move |db| conferences::by_slug(db, &slug))
    }

    fn count_owned(&self, account: AccountId) -> StoreFuture<'_, u64> {
        self.threads
            .read(move |db| conferences::count_owned(db, account))
    }

    fn conferences_of(
        &self,
        account: AccountId,
        after: Option<Cursor>,
        limit: u32,
    ) -> StoreFuture<'_, Page<Membership>> {
        self.threads
            .read(move |db| conferences::of_account(db, account, after.as_ref(), limit))
    }

    fn delete_conference(&self, id: ConferenceId, _now: UnixMillis) -> StoreFuture<'_, ()> {
        self.threads.write(move |db| conferences::delete(db, id))
    }

    fn member(
        &self,
        conference: ConferenceId,
        account: AccountId,
    ) -> StoreFuture<'_, Option<Standing>> {
        self.threads
            .read(move |db| conferences::member(db, conference, account))
    }

    fn members(
        &self,
        conference: ConferenceId,
        after: Option<Cursor>,
        limit: u32,
    ) -> StoreFuture<'_, Page<MemberRecord>> {
        self.threads
            .read(move |db| conferences::members(db, conference, after.as_ref(), limit))
    }

    fn count_members(&self, conference: ConferenceId) -> StoreFuture<'_, u64> {
        self.threads
            .read(move |db| conferences::count_members(db, conference))
    }

    fn add_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        standing: Standing,
    ) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| conferences::add_member(db, conference, account, standing))
    }

    fn change_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Standing,
        new: Standing,
    ) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| conferences::change_member(db, conference, account, old, new))
    }

    fn remove_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Standing,
    ) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| conferences::remove_member(db, conference, account, old))
    }

    fn home(&self, conference: ConferenceId) -> StoreFuture<'_, Option<HomeRecord>> {
        self.threads.read(move |db| homes::home(db, conference))
    }

    fn write_home(
        &self,
        conference: ConferenceId,
        old: Option<HomeRecord>,
        new: HomeRecord,
    ) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| homes::write_home(db, conference, old.as_ref(), &new))
    }

    fn beat(&self, node: NodeRecord) -> StoreFuture<'_, ()> {
        self.threads.write(move |db| homes::beat(db, &node))
    }

    fn nodes(&self) -> StoreFuture<'_, Vec<NodeRecord>> {
        self.threads.read(homes::nodes)
    }

    fn forget_node(&self, run: NodeRun) -> StoreFuture<'_, ()> {
        self.threads.write(move |db| homes::forget_node(db, &run))
    }

    fn revoke(&self, peer: Peer, until: UnixMillis) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| homes::revoke(db, &peer, until))
    }

    fn revoked(&self) -> StoreFuture<'_, Vec<(Peer, UnixMillis)>> {
        self.threads.read(homes::revoked)
    }

    fn sweep(&self, now: UnixMillis) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let (mut swept, mut from) = (0, Some(SessionId([0; 16])));
            while let Some(first) = from {
                let step = move |db: &_| accounts::sweep(db, now, first, SWEEP_STEP);
                let (ended, next) = self.threads.write(step).await?;
                swept += ended;
                from = next;
            }
            Ok(swept)
        })
    }

    /// The file belongs to one machine.
    fn is_shared(&self) -> bool {
        false
    }
}

/// A file that is new is for its owner alone, as are the logs that SQLite puts beside it: people's addresses are in it.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Cursors are the row number after which the page begins.
fn row_of(cursor: Option<&Cursor>) -> Result<i64, StoreError> {
    match cursor {
        None => Ok(0),
        Some(Cursor(bytes)) => bytes
            .as_ref()
            .try_into()
            .map(i64::from_be_bytes)
            .map_err(|_| StoreError::BadCursor),
    }
}

/// Cuts the one row off that was read to learn whether there is a next page.
fn page<T>(mut rows: Vec<(i64, T)>, limit: u32) -> Page<T> {
    let limit = limit as usize;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|(row, _)| Cursor(Bytes::copy_from_slice(&row.to_be_bytes())));
    Page {
        items: rows.into_iter().map(|(_, item)| item).collect(),
        next,
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..) => Self::Corrupt("a column"),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// Reads a value that was kept as text.
fn parsed<T: std::str::FromStr>(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|_| broken(column, Type::Text))
}

/// A column whose value this program could not have written.
fn broken(column: usize, kind: Type) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(column, "a value".to_owned(), kind)
}

/// SQLite's integers are signed; ours count milliseconds, generations and eras and stay far below 2^63.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| broken(column, Type::Integer))
}

fn millis(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<UnixMillis> {
    unsigned(row, column).map(UnixMillis)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use confab_protocol::control::room::Role;

    use super::*;

    #[tokio::test]
    async fn it_does_what_a_store_has_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("store")).unwrap();
        crate::store::conformance::run(Arc::new(store)).await;
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let conference = ConferenceId::new([1; 16]);
        let mut old = None;
        for era in 1..=3 {
            let store = SqliteStore::open(&path).unwrap();
            assert_eq!(store.home(conference).await, Ok(old.clone()));
            let new = HomeRecord {
                era,
                owner: Some(NodeRun::new("local".parse().unwrap())),
                place: None,
            };
            let written = store.write_home(conference, old, new.clone()).await;
            assert_eq!(written, Ok(()));
            old = Some(new);
        }
    }

    /// What a store has to hold for each of very many people: an account, a session and a membership.
    #[tokio::test]
    async fn a_user_takes_428_bytes_at_most() {
        const USERS: u64 = 10_000;
        const CONFERENCES: u64 = 500;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let store = SqliteStore::open(&path).unwrap();
        let now = UnixMillis(1_790_000_000_000);
        let standing = Standing {
            revision: 0,
            role: Role::Member,
            muted: false,
            since: now,
        };
        let conference = |number: u64| {
            let mut id = [0; 16];
            id[8..].copy_from_slice(&number.to_be_bytes());
            ConferenceId::new(id)
        };
        let mut size_before = 0;
        for number in 0..USERS {
            let now = UnixMillis(now.0 + number);
            let id = AccountId::new(crate::random::time_ordered_id(now));
            let hex = data_encoding::HEXLOWER.encode(&id.as_bytes()[11..]);
            let mut password = [1; 60];
            crate::random::fill(&mut password[12..]);
            let account = AccountRecord {
                id,
                username: format!("{}{hex}", number % 7).parse().unwrap(),
                email: format!("{hex}@mail.example").parse().unwrap(),
                password: PasswordHash::from_bytes(&password).unwrap(),
                birthday: "1990-01-31".parse().unwrap(),
                created: now,
            };
            if number < CONFERENCES {
                let made = ConferenceRecord {
                    id: conference(number),
                    slug: format!("conference-{number}").parse().unwrap(),
                    title: "A conference".parse().unwrap(),
                    visibility: confab_protocol::control::room::Visibility::Public,
                    owner: id,
                    owner_name: account.username.clone(),
                    created: now,
                    region: None,
                };
                store.create_account(account).await.unwrap();
                store.create_conference(made).await.unwrap();
                size_before = size(&path);
                continue;
            }
            let session = SessionRecord {
                id: SessionId(crate::random::time_ordered_id(now)),
                account: id,
                generation: 0,
                secret_hash: crate::random::bytes(),
                used: true,
                device: "windows".parse().unwrap(),
                created: now,
                rotated: now,
                expires: now,
            };
            // Written in one batch, in this order.
            let writes = (
                store.create_account(account),
                store.create_session(session),
                store.add_member(conference(number * 7919 % CONFERENCES), id, standing),
            );
            writes.0.await.unwrap();
            writes.1.await.unwrap();
            writes.2.await.unwrap();
        }
        let bytes = (size(&path) - size_before) / (USERS - CONFERENCES);
        assert!(bytes <= 428, "{bytes} bytes");
    }

    /// Bytes of the pages in use, those in the log included.
    fn size(path: &Path) -> u64 {
        let db = rusqlite::Connection::open(path).unwrap();
        let pragma = |name: &str| -> u64 {
            db.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, u32>(0))
                .unwrap()
                .into()
        };
        (pragma("page_count") - pragma("freelist_count")) * pragma("page_size")
    }

    #[tokio::test]
    async fn a_sweep_goes_through_more_than_one_step() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("store")).unwrap();
        let now = UnixMillis(1_790_000_000_000);
        let account = AccountRecord {
            id: AccountId::new([1; 16]),
            username: "ann".parse().unwrap(),
            email: "ann@example.org".parse().unwrap(),
            password: PasswordHash::from_bytes(&[1; 60]).unwrap(),
            birthday: "1990-01-31".parse().unwrap(),
            created: now,
        };
        store.create_account(account.clone()).await.unwrap();
        let count = u64::from(SWEEP_STEP) * 2 + 10;
        let mut writes = Vec::new();
        for number in 0..count {
            let session = SessionRecord {
                id: SessionId(crate::random::bytes()),
                account: account.id,
                generation: 0,
                secret_hash: [0; 16],
                used: true,
                device: "phone".parse().unwrap(),
                created: now,
                rotated: now,
                // Every second one has expired.
                expires: UnixMillis(now.0 + number % 2),
            };
            writes.push(store.create_session(session));
            if writes.len() == 500 {
                for write in writes.drain(..) {
                    write.await.unwrap();
                }
            }
        }
        for write in writes {
            write.await.unwrap();
        }
        assert_eq!(store.sweep(now).await, Ok(count / 2));
        assert_eq!(
            store.sessions_of(account.id, now).await.unwrap().len() as u64,
            count / 2
        );
    }
}
