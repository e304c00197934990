//! Sessions: rows that expire in the database, and a list of them for each account.

use std::time::Duration;

use confab_protocol::control::AccountId;
use scylla::DeserializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;

use super::cas_table::{Swapped, Ttl};
use super::db::{Db, Kind};
use super::keys::{self, SESSION};
use super::{Core, ROUNDS, packed};
use crate::clock::UnixMillis;
use crate::store::batch::join_all;
use crate::store::{Rotation, SessionId, SessionRecord, StoreError};

/// Added to the life of a row: the database counts whole seconds, and may begin within one.
const TTL_SLACK: Duration = Duration::from_secs(2);
/// The longest TTL that every database accepts: 20 years.
const MAX_TTL: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);
/// Entries that are read at a time.
const CHUNK: usize = 32;

/// The statements on the lists of sessions in `users`.
pub(super) struct SessionLists {
    insert: PreparedStatement,
    delete: PreparedStatement,
    list: PreparedStatement,
}

/// A session in an account's list.
#[derive(DeserializeRow)]
struct SessionOf {
    item: Vec<u8>,
}

impl SessionLists {
    pub(super) async fn prepare(db: &Db, table: &str) -> Result<Self, StoreError> {
        let insert =
            format!("INSERT INTO {table} (account, kind, item) VALUES (?, ?, ?) USING TTL ?");
        let delete = format!("DELETE FROM {table} WHERE account = ? AND kind = ? AND item = ?");
        let list = format!(
            "SELECT item FROM {table} WHERE account = ? AND kind = {SESSION} AND item > ? LIMIT {CHUNK}"
        );
        Ok(Self {
            insert: db.prepare(&insert, Kind::Write).await?,
            delete: db.prepare(&delete, Kind::Write).await?,
            list: db.prepare(&list, Kind::Read).await?,
        })
    }

    async fn add(&self, db: &Db, session: &SessionRecord) -> Result<(), StoreError> {
        let mut values = keys::session_of(session.account, session.id).to_vec();
        values.push(CqlValue::Int(ttl(session)));
        Ok(db.execute(&self.insert, values).await?)
    }

    async fn remove(&self, db: &Db, account: AccountId, id: SessionId) -> Result<(), StoreError> {
        let key = keys::session_of(account, id);
        Ok(db.execute(&self.delete, key).await?)
    }

    /// Some of the account's sessions, by id, from the one after `last` on.
    async fn list(
        &self,
        db: &Db,
        account: AccountId,
        last: Vec<u8>,
    ) -> Result<Vec<SessionId>, StoreError> {
        let values = vec![keys::bytes(account.as_bytes()), CqlValue::Blob(last)];
        let rows: Vec<SessionOf> = db.rows(&self.list, values).await?;
        let ids = rows.iter().map(|row| keys::read_id(&row.item));
        ids.map(|id| id.map(SessionId)).collect()
    }
}

impl Core {
    pub(super) async fn create_session(&self, session: &SessionRecord) -> Result<(), StoreError> {
        self.session_lists.add(&self.db, session).await?;
        let (key, row) = (keys::id(&session.id.0), packed::session(session));
        self.sessions
            .put(&self.db, &key, None, &row, ttl(session))
            .await?;
        // Checked last: the deletion of an account closes it first, then ends the sessions that it finds.
        if self.is_account(session.account).await? {
            return Ok(());
        }
        self.end_session(session.account, session.id).await?;
        Err(StoreError::NotFound)
    }

    pub(super) async fn session(
        &self,
        id: SessionId,
        now: UnixMillis,
    ) -> Result<Option<SessionRecord>, StoreError> {
        let Some(value) = self.sessions.read(&self.db, &keys::id(&id.0)).await? else {
            return Ok(None);
        };
        let session = packed::read_session(id, &value)?;
        Ok((session.expires > now).then_some(session))
    }

    pub(super) async fn rotate_session(
        &self,
        id: SessionId,
        presented: u32,
        rotation: Rotation,
    ) -> Result<(), StoreError> {
        let next = presented.checked_add(1).ok_or(StoreError::Conflict)?;
        let key = keys::id(&id.0);
        let mut found = self.sessions.read(&self.db, &key).await?;
        for _ in 0..ROUNDS {
            let value = found.ok_or(StoreError::NotFound)?;
            let session = packed::read_session(id, &value)?;
            if session.generation == next && session.secret_hash == rotation.secret_hash {
                return Ok(());
            }
            if session.generation != presented {
                return Err(StoreError::Conflict);
            }
            let moved_on = SessionRecord {
                generation: next,
                secret_hash: rotation.secret_hash,
                used: false,
                rotated: rotation.rotated,
                expires: rotation.expires,
                ..session
            };
            // First, so that no session outlives its entry in the list.
            self.session_lists.add(&self.db, &moved_on).await?;
            let new = packed::session(&moved_on);
            let swapped = self
                .sessions
                .put(&self.db, &key, Some(&value), &new, ttl(&moved_on));
            match swapped.await? {
                Swapped::Done => return Ok(()),
                Swapped::Found(other) => found = other,
            }
        }
        Err(StoreError::Conflict)
    }

    pub(super) async fn mark_used(&self, id: SessionId, generation: u32) -> Result<(), StoreError> {
        let key = keys::id(&id.0);
        let Some(value) = self.sessions.read(&self.db, &key).await? else {
            return Ok(());
        };
        let session = packed::read_session(id, &value)?;
        if session.generation != generation || session.used {
            return Ok(());
        }
        let used = SessionRecord {
            used: true,
            ..session
        };
        let new = packed::session(&used);
        // A concurrent write that was first has rotated, marked or ended it.
        self.sessions
            .put(&self.db, &key, Some(&value), &new, ttl(&used))
            .await
            .map(drop)
    }

    pub(super) async fn end_session(
        &self,
        account: AccountId,
        id: SessionId,
    ) -> Result<bool, StoreError> {
        let key = keys::id(&id.0);
        let mut found = self.sessions.read(&self.db, &key).await?;
        let was_there = found.is_some();
        while let Some(value) = found {
            if packed::read_session(id, &value)?.account != account {
                return Ok(false);
            }
            let swapped = self.sessions.remove(&self.db, &key, &value);
            found = match swapped.await? {
                Swapped::Done => None,
                Swapped::Found(other) => other,
            };
        }
        // Last: a session that is not in the list cannot be found.
        self.session_lists.remove(&self.db, account, id).await?;
        Ok(was_there)
    }

    pub(super) async fn sessions_of(
        &self,
        account: AccountId,
        now: UnixMillis,
    ) -> Result<Vec<SessionRecord>, StoreError> {
        let (mut sessions, mut last) = (Vec::new(), Vec::new());
        loop {
            let ids = self.session_lists.list(&self.db, account, last).await?;
            let reads = ids.iter().map(|id| self.session(*id, now));
            for session in join_all(reads).await {
                // The entry may have outlived its session, or the id may be another account's.
                sessions.extend(session?.filter(|session| session.account == account));
            }
            match ids.last() {
                Some(id) if ids.len() == CHUNK => last = id.0.to_vec(),
                _ => break,
            }
        }
        sessions.sort_by_key(|session| (session.created, session.id));
        Ok(sessions)
    }

    pub(super) async fn end_sessions_of(
        &self,
        account: AccountId,
        keep: Option<SessionId>,
    ) -> Result<Vec<SessionId>, StoreError> {
        let (mut ended, mut last) = (Vec::new(), Vec::new());
        loop {
            let ids = self.session_lists.list(&self.db, account, last).await?;
            let mut goes: Vec<_> = ids.iter().filter(|id| Some(**id) != keep).collect();
            let ends = goes.iter().map(|id| self.end_session(account, **id));
            let outcomes: Result<Vec<bool>, _> = join_all(ends).await.into_iter().collect();
            let mut was_there = outcomes?.into_iter();
            goes.retain(|_| was_there.next().unwrap_or_default());
            ended.extend(goes.into_iter().copied());
            match ids.last() {
                Some(id) if ids.len() == CHUNK => last = id.0.to_vec(),
                _ => return Ok(ended),
            }
        }
    }
}

/// The TTL of a session: from its newest token to its end. Only the database's clock counts it, so a wrong clock on this machine ends no
/// session.
fn ttl(session: &SessionRecord) -> Ttl {
    let life = session.expires.since(session.rotated).min(MAX_TTL);
    let seconds = (life + TTL_SLACK).as_millis().div_ceil(1000);
    Ttl::try_from(seconds).unwrap_or(Ttl::MAX)
}
