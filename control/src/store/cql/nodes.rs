//! What control nodes say of themselves: all in one small partition, each row written by its node alone.
//!
//! A heartbeat is a plain write at LOCAL_QUORUM, every second or so: a conditional one would ask all datacentres each time, and
//! the nodes would wait for one another, for they share a partition. Nothing is decided by these rows: who takes a room
//! compares its home. So a heartbeat may come twice and late, too; it must not wait for a database node that hangs, or its own node
//! would be taken for dead.

use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;

use super::db::{Db, Kind, blob};
use super::{Core, values};
use crate::store::{NodeRecord, NodeRun, StoreError};

/// A node that has said nothing for so long is forgotten, in seconds.
const TTL: i32 = 24 * 60 * 60;

/// The partition that has them all. Bound, not written out: so a statement finds its replicas by itself.
const ALL: CqlValue = CqlValue::TinyInt(0);

/// The statements on `nodes`.
pub(super) struct Nodes {
    write: PreparedStatement,
    read: PreparedStatement,
    list: PreparedStatement,
    forget: PreparedStatement,
}

impl Nodes {
    pub(super) async fn prepare(db: &Db, table: &str) -> Result<Self, StoreError> {
        let write = format!("UPDATE {table} USING TTL {TTL} SET v = ? WHERE b = ? AND n = ?");
        let read = format!("SELECT v, WRITETIME(v) FROM {table} WHERE b = ? AND n = ?");
        let list = format!("SELECT n, v FROM {table} WHERE b = ?");
        let forget = format!("DELETE FROM {table} USING TIMESTAMP ? WHERE b = ? AND n = ?");
        Ok(Self {
            write: db.prepare(&write, Kind::UrgentWrite).await?,
            read: db.prepare(&read, Kind::Read).await?,
            list: db.prepare(&list, Kind::Read).await?,
            forget: db.prepare(&forget, Kind::Write).await?,
        })
    }
}

impl Core {
    pub(super) async fn beat(&self, node: &NodeRecord) -> Result<(), StoreError> {
        let values = with_key(CqlValue::Blob(values::node(node)), &node.run);
        self.db.run(&self.nodes.write, values).await?;
        Ok(())
    }

    pub(super) async fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError> {
        let answer = self.db.run(&self.nodes.list, vec![ALL]).await?;
        let node = |row: scylla::value::Row| match <[_; 2]>::try_from(row.columns) {
            Ok([Some(CqlValue::Text(name)), value]) => {
                values::read_node(&name, &blob(value).unwrap_or_default())
            }
            _ => Err(StoreError::Corrupt("a node")),
        };
        answer.rows.into_iter().map(node).collect()
    }

    /// Deletes what was written until the run was seen in its place, and nothing that is newer: a run that starts at this
    /// very moment keeps its row, whichever of the two is stored first.
    pub(super) async fn forget_node(&self, run: &NodeRun) -> Result<(), StoreError> {
        let answer = self.db.run(&self.nodes.read, key(run).to_vec()).await?;
        let Some(row) = answer.rows.into_iter().next() else {
            return Ok(());
        };
        let Ok([value, Some(written)]) = <[_; 2]>::try_from(row.columns) else {
            return Err(StoreError::Corrupt("a node"));
        };
        let value = blob(value).unwrap_or_default();
        if values::read_node(run.name.as_str(), &value)?.run != *run {
            return Ok(());
        }
        let values = with_key(written, run);
        self.db.run(&self.nodes.forget, values).await?;
        Ok(())
    }
}

fn key(run: &NodeRun) -> [CqlValue; 2] {
    [ALL, CqlValue::Text(run.name.as_str().to_owned())]
}

fn with_key(first: CqlValue, run: &NodeRun) -> Vec<CqlValue> {
    let [partition, name] = key(run);
    vec![first, partition, name]
}
