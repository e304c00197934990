//! Relays and nodes of which identities are revoked: all in one small partition.
//!
//! A plain write, whose timestamp is the value that it writes: of two the later revocation stays, whichever is stored first.

use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;

use super::Core;
use super::db::{Db, Kind};
use crate::clock::UnixMillis;
use crate::domain::Peer;
use crate::store::StoreError;

/// The partition that has them all.
const ALL: CqlValue = CqlValue::TinyInt(0);
/// Timestamps of writes are microseconds.
const MICROS_PER_MILLI: i64 = 1000;

/// The statements on `revoked`.
pub(super) struct Revoked {
    write: PreparedStatement,
    list: PreparedStatement,
}

impl Revoked {
    pub(super) async fn prepare(db: &Db, table: &str) -> Result<Self, StoreError> {
        let write = format!("UPDATE {table} USING TIMESTAMP ? SET v = ? WHERE b = ? AND n = ?");
        let list = format!("SELECT n, v FROM {table} WHERE b = ?");
        Ok(Self {
            write: db.prepare(&write, Kind::Write).await?,
            list: db.prepare(&list, Kind::Read).await?,
        })
    }
}

impl Core {
    pub(super) async fn revoke(&self, peer: &Peer, until: UnixMillis) -> Result<(), StoreError> {
        let millis = i64::try_from(until.0).unwrap_or(i64::MAX / MICROS_PER_MILLI);
        let values = vec![
            CqlValue::BigInt(millis.saturating_mul(MICROS_PER_MILLI)),
            CqlValue::BigInt(millis),
            ALL,
            CqlValue::Text(peer.to_string()),
        ];
        self.db.run(&self.revoked.write, values).await?;
        Ok(())
    }

    pub(super) async fn revoked(&self) -> Result<Vec<(Peer, UnixMillis)>, StoreError> {
        const WRONG: StoreError = StoreError::Corrupt("a revoked identity");
        let answer = self.db.run(&self.revoked.list, vec![ALL]).await?;
        let relay = |row: scylla::value::Row| match <[_; 2]>::try_from(row.columns) {
            Ok([Some(CqlValue::Text(name)), Some(CqlValue::BigInt(until))]) => {
                let until = u64::try_from(until).map_err(|_| WRONG)?;
                Ok((name.parse().map_err(|_| WRONG)?, UnixMillis(until)))
            }
            _ => Err(WRONG),
        };
        answer.rows.into_iter().map(relay).collect()
    }
}
