//! Heartbeats of control nodes: all in one small partition, each row written by its node alone.
//!
//! A heartbeat is a plain write at LOCAL_QUORUM, about once a second. A conditional write would ask all datacentres, and the nodes
//! would wait for one another, because they share a partition. Nothing is decided by these rows: a node that takes a room over
//! compares its home. So a heartbeat may be written twice, or late. It must not wait for a database node that hangs, or its own node
//! would be considered dead.

use scylla::DeserializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;

use super::db::{Db, Kind};
use crate::store::{NodeRecord, NodeRun, StoreError};

/// Seconds for which a node is kept after its last heartbeat.
const TTL: i32 = 24 * 60 * 60;

/// The only partition. It is bound, not part of the statement, so that the driver finds the replicas.
const ALL: CqlValue = CqlValue::TinyInt(0);

/// The statements on `nodes`.
pub(super) struct Nodes {
    write: PreparedStatement,
    read: PreparedStatement,
    list: PreparedStatement,
    forget: PreparedStatement,
}

/// A node. The integers are the same 64 bits without a sign.
#[derive(DeserializeRow)]
struct NodeRow {
    name: String,
    incarnation: i64,
    heartbeats: i64,
    cluster_address: String,
    public_addresses: Option<Vec<String>>,
}

/// The run that wrote a row, and when, in microseconds.
#[derive(DeserializeRow)]
struct RunRow {
    incarnation: i64,
    written: i64,
}

impl Nodes {
    pub(super) async fn prepare(db: &Db, table: &str) -> Result<Self, StoreError> {
        let row = "WHERE bucket = ? AND name = ?";
        let write = format!(
            "UPDATE {table} USING TTL {TTL} \
             SET incarnation = ?, heartbeats = ?, cluster_address = ?, public_addresses = ? {row}"
        );
        let read =
            format!("SELECT incarnation, WRITETIME(incarnation) AS written FROM {table} {row}");
        let list = format!(
            "SELECT name, incarnation, heartbeats, cluster_address, public_addresses FROM {table} WHERE bucket = ?"
        );
        let forget = format!("DELETE FROM {table} USING TIMESTAMP ? {row}");
        Ok(Self {
            write: db.prepare(&write, Kind::UrgentWrite).await?,
            read: db.prepare(&read, Kind::Read).await?,
            list: db.prepare(&list, Kind::Read).await?,
            forget: db.prepare(&forget, Kind::Write).await?,
        })
    }
}

impl Nodes {
    pub(super) async fn beat(&self, db: &Db, node: &NodeRecord) -> Result<(), StoreError> {
        let public = node.public.iter().cloned().map(CqlValue::Text).collect();
        let mut values = vec![
            CqlValue::BigInt(node.run.incarnation.cast_signed()),
            CqlValue::BigInt(node.counter.cast_signed()),
            CqlValue::Text(node.cluster.clone()),
            CqlValue::List(public),
        ];
        values.extend(key(&node.run));
        Ok(db.execute(&self.write, values).await?)
    }

    pub(super) async fn list(&self, db: &Db) -> Result<Vec<NodeRecord>, StoreError> {
        let rows: Vec<NodeRow> = db.rows(&self.list, [ALL]).await?;
        let node = |row: NodeRow| {
            let name = row.name.parse();
            Ok(NodeRecord {
                run: NodeRun {
                    name: name.map_err(|_| StoreError::Corrupt("the name of a node"))?,
                    incarnation: row.incarnation.cast_unsigned(),
                },
                counter: row.heartbeats.cast_unsigned(),
                cluster: row.cluster_address,
                public: row.public_addresses.unwrap_or_default(),
            })
        };
        rows.into_iter().map(node).collect()
    }

    /// Deletes the row as of its last write by this run, and nothing newer: a run that starts at this moment keeps its row, whichever
    /// of the two statements is stored first.
    pub(super) async fn forget(&self, db: &Db, run: &NodeRun) -> Result<(), StoreError> {
        let rows: Vec<RunRow> = db.rows(&self.read, key(run)).await?;
        let is_ours = |row: &RunRow| row.incarnation.cast_unsigned() == run.incarnation;
        let Some(row) = rows.into_iter().next().filter(is_ours) else {
            return Ok(());
        };
        let mut values = vec![CqlValue::BigInt(row.written)];
        values.extend(key(run));
        Ok(db.execute(&self.forget, values).await?)
    }
}

fn key(run: &NodeRun) -> [CqlValue; 2] {
    [ALL, CqlValue::Text(run.name.to_string())]
}
