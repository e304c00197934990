//! Revoked identities of relays and nodes: all in one small partition.
//!
//! A plain write, whose timestamp is the value that it writes: of two revocations the later one stays, whichever is stored first.

use scylla::DeserializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlTimestamp, CqlValue};

use super::conference_row::{time, timestamp};
use super::db::{Db, Kind};
use crate::clock::UnixMillis;
use crate::domain::Peer;
use crate::store::StoreError;

/// The only partition.
const ALL: CqlValue = CqlValue::TinyInt(0);
/// Timestamps of writes are microseconds.
const MICROS_PER_MILLI: i64 = 1000;

/// The statements on `revoked`.
pub(super) struct Revoked {
    write: PreparedStatement,
    list: PreparedStatement,
}

#[derive(DeserializeRow)]
struct RevokedRow {
    peer: String,
    until: CqlTimestamp,
}

impl Revoked {
    pub(super) async fn prepare(db: &Db, table: &str) -> Result<Self, StoreError> {
        let write =
            format!("UPDATE {table} USING TIMESTAMP ? SET until = ? WHERE bucket = ? AND peer = ?");
        let list = format!("SELECT peer, until FROM {table} WHERE bucket = ?");
        Ok(Self {
            write: db.prepare(&write, Kind::Write).await?,
            list: db.prepare(&list, Kind::Read).await?,
        })
    }
}

impl Revoked {
    pub(super) async fn revoke(
        &self,
        db: &Db,
        peer: &Peer,
        until: UnixMillis,
    ) -> Result<(), StoreError> {
        let until = timestamp(until);
        let values = [
            CqlValue::BigInt(until.0.saturating_mul(MICROS_PER_MILLI)),
            CqlValue::Timestamp(until),
            ALL,
            CqlValue::Text(peer.to_string()),
        ];
        Ok(db.execute(&self.write, values).await?)
    }

    pub(super) async fn list(&self, db: &Db) -> Result<Vec<(Peer, UnixMillis)>, StoreError> {
        const WRONG: StoreError = StoreError::Corrupt("a revoked identity");
        let rows: Vec<RevokedRow> = db.rows(&self.list, [ALL]).await?;
        let revoked = |row: RevokedRow| {
            let peer = row.peer.parse().map_err(|_| WRONG)?;
            Ok((peer, time(row.until).ok_or(WRONG)?))
        };
        rows.into_iter().map(revoked).collect()
    }
}
