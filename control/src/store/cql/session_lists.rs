//! The list of sessions of each account.

use std::time::Duration;

use confab_protocol::control::AccountId;
use scylla::DeserializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;

use super::cas_table::Ttl;
use super::db::{Db, Kind};
use super::keys::{self, SESSION};
use crate::store::{SessionId, SessionRecord, StoreError};

/// Added to the life of a row: the database counts whole seconds, and may begin within one.
const TTL_SLACK: Duration = Duration::from_secs(2);
/// The longest TTL that every database accepts: 20 years.
const MAX_TTL: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);
/// Entries that are read at a time.
pub(super) const CHUNK: usize = 32;

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

    pub(super) async fn add(&self, db: &Db, session: &SessionRecord) -> Result<(), StoreError> {
        let mut values = keys::session_of(session.account, session.id).to_vec();
        values.push(CqlValue::Int(ttl(session)));
        Ok(db.execute(&self.insert, values).await?)
    }

    pub(super) async fn remove(
        &self,
        db: &Db,
        account: AccountId,
        id: SessionId,
    ) -> Result<(), StoreError> {
        let key = keys::session_of(account, id);
        Ok(db.execute(&self.delete, key).await?)
    }

    /// Some of the account's sessions, by id, from the one after `last` on.
    pub(super) async fn list(
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

/// The TTL of a session: from its newest token to its end. Only the database's clock counts it, so a wrong clock on this machine ends no
/// session.
pub(super) fn ttl(session: &SessionRecord) -> Ttl {
    let life = session.expires.since(session.rotated).min(MAX_TTL);
    let seconds = (life + TTL_SLACK).as_millis().div_ceil(1000);
    Ttl::try_from(seconds).unwrap_or(Ttl::MAX)
}
