//! Keyspace, tables and their migrations, which several nodes may begin at the same moment.

use std::collections::BTreeSet;
use std::time::Duration;

use scylla::errors::ExecutionError;
use scylla::statement::Consistency;
use scylla::statement::unprepared::Statement;
use scylla::value::{CqlValue, Row};

use super::config::CqlConfig;
use super::db::{Db, classify};
use crate::random::{self, jittered};
use crate::store::StoreError;

/// The migrations; each one's index is the version that it starts from. Never change a released one. A statement may be done
/// twice, because the node that began may have crashed midway.
const MIGRATIONS: [&[&str]; 1] = [&[
    "CREATE TABLE IF NOT EXISTS {ks}.users (account blob, kind tinyint, item blob, value blob, removed blob, \
     PRIMARY KEY (account, kind, item)) WITH compression = {packed}",
    "CREATE TABLE IF NOT EXISTS {ks}.users_by_username (username text PRIMARY KEY, id blob, removed blob) WITH compression = {packed}",
    "CREATE TABLE IF NOT EXISTS {ks}.users_by_email (email text PRIMARY KEY, id blob, removed blob) WITH compression = {packed}",
    "CREATE TABLE IF NOT EXISTS {ks}.sessions (session blob PRIMARY KEY, value blob, removed blob) WITH compression = {packed}",
    "CREATE TABLE IF NOT EXISTS {ks}.conferences (conference blob PRIMARY KEY, state text, slug text, owner blob, \
     created timestamp, owner_name text, visibility tinyint, title text, region text, revision int, removed blob) WITH compression = {packed}",
    "CREATE TABLE IF NOT EXISTS {ks}.conferences_by_slug (slug text PRIMARY KEY, id blob, removed blob) WITH compression = {packed}",
    "CREATE TABLE IF NOT EXISTS {ks}.members_by_conference (conference blob, bucket tinyint, account blob, value blob, removed blob, \
     PRIMARY KEY ((conference, bucket), account)) WITH compression = {packed}",
    "CREATE TABLE IF NOT EXISTS {ks}.invitations_by_conference (conference blob, id blob, value blob, removed blob, \
     PRIMARY KEY (conference, id)) WITH compression = {packed}",
    "CREATE TABLE IF NOT EXISTS {ks}.guest_bans_by_conference (conference blob, device blob, value blob, removed blob, \
     PRIMARY KEY (conference, device)) WITH compression = {packed}",
    "CREATE TABLE IF NOT EXISTS {ks}.conference_home (conference blob PRIMARY KEY, era bigint, owner text, incarnation bigint, \
     relay text, boot blob, placement bigint, removed blob) WITH compression = {packed}",
    // A row that a dead replica brings back is a node whose counter stands still.
    "CREATE TABLE IF NOT EXISTS {ks}.nodes (bucket tinyint, name text, incarnation bigint, heartbeats bigint, \
     cluster_address text, public_addresses frozen<list<text>>, PRIMARY KEY (bucket, name)) WITH gc_grace_seconds = 3600",
    "CREATE TABLE IF NOT EXISTS {ks}.server (key tinyint PRIMARY KEY, id blob, removed blob)",
    "CREATE TABLE IF NOT EXISTS {ks}.revoked (bucket tinyint, peer text, until timestamp, PRIMARY KEY (bucket, peer))",
    // A row that a dead replica brings back is settled again, which does no harm.
    "CREATE TABLE IF NOT EXISTS {ks}.unfinished (bucket tinyint, work text, id blob, attempt blob, begun timestamp, username text, \
     email text, slug text, owner blob, created timestamp, PRIMARY KEY (bucket, work, id, attempt)) \
     WITH compression = {packed} AND gc_grace_seconds = 3600",
]];
/// The timeout for the driver to learn the nodes of the database.
const TOPOLOGY_WAIT: Duration = Duration::from_secs(10);
/// One row: the version of the tables, and the node that changes them now.
const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS {ks}.schema_version (key tinyint PRIMARY KEY, version int, holder blob)";
/// Seconds for which a node that crashed while it changed the tables blocks the others.
const HOLD_SECONDS: i32 = 60;
/// The wait for another node that changes the tables.
const WAIT: Duration = Duration::from_secs(120);
/// Time between two checks of that.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// The timeout of statements on tables, which are slow on a large cluster.
const DDL_TIMEOUT: Duration = Duration::from_secs(60);

/// Creates the keyspace and its tables, or brings them up to date.
///
/// # Errors
///
/// [`StoreError::Unavailable`] for an unknown datacentre, more replicas than nodes, or tables of a newer program.
pub(super) async fn migrate(db: &Db, config: &CqlConfig) -> Result<(), StoreError> {
    let schema = Schema {
        db,
        keyspace: &config.address.keyspace,
    };
    schema.make_keyspace(config).await?;
    schema.run(schema.qualified(VERSIONS), Vec::new()).await?;
    let until = tokio::time::Instant::now() + WAIT;
    let holder = CqlValue::Blob(random::bytes::<8>().to_vec());
    loop {
        let version = schema.version().await?;
        match MIGRATIONS.get(version..) {
            None => {
                return Err(StoreError::Unavailable(format!(
                    "its tables are of version {version}, this program knows {}: start the newer program",
                    MIGRATIONS.len()
                )));
            }
            Some([]) => return Ok(()),
            Some(_) => {}
        }
        if schema.hold(&holder).await? {
            // Another node may have changed them before this one held the lock.
            let version = schema.version().await?;
            for (number, migration) in MIGRATIONS.iter().enumerate().skip(version) {
                schema.change(number, migration).await?;
            }
            schema.release(&holder).await?;
            continue;
        }
        if tokio::time::Instant::now() > until {
            return Err(StoreError::Unavailable(
                "another node has been changing the tables for two minutes: look at its log"
                    .to_owned(),
            ));
        }
        tokio::time::sleep(jittered(LOOK_AGAIN)).await;
    }
}

/// The table's name with its keyspace.
pub(super) fn table(config: &CqlConfig, name: &str) -> String {
    format!("{}.{name}", config.address.keyspace)
}

struct Schema<'a> {
    db: &'a Db,
    keyspace: &'a str,
}

impl Schema<'_> {
    async fn make_keyspace(&self, config: &CqlConfig) -> Result<(), StoreError> {
        let found = self
            .run(
                "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?"
                    .to_owned(),
                vec![CqlValue::Text(self.keyspace.to_owned())],
            )
            .await?;
        let datacenter = self.datacenter(config).await?;
        if !found.is_empty() {
            return Ok(());
        }
        let state = self.db.session.get_cluster_state();
        let nodes = state
            .get_nodes_info()
            .iter()
            .filter(|node| node.datacenter.as_deref() == Some(&datacenter))
            .count();
        let replicas = usize::from(config.replication);
        if nodes < replicas {
            return Err(StoreError::Unavailable(format!(
                "{replicas} replicas need as many nodes, and datacentre {datacenter} has {nodes}: start more, or give \
                 --store-replication {nodes}"
            )));
        }
        // Quotes within a text are doubled.
        let datacenter = datacenter.replace('\'', "''");
        self.run(
            format!(
                "CREATE KEYSPACE IF NOT EXISTS {} WITH replication = {{'class': 'NetworkTopologyStrategy', \
                 '{datacenter}': {replicas}}}",
                self.keyspace
            ),
            Vec::new(),
        )
        .await?;
        Ok(())
    }

    /// The datacentre to use.
    async fn datacenter(&self, config: &CqlConfig) -> Result<String, StoreError> {
        let known = self.datacenters().await?;
        let names = || known.iter().cloned().collect::<Vec<_>>().join(", ");
        match (&config.datacenter, known.first()) {
            (Some(wished), _) if known.contains(wished) => Ok(wished.clone()),
            (Some(wished), _) => Err(StoreError::Unavailable(format!(
                "there is no datacentre {wished}, but {}: check --store-datacenter",
                names()
            ))),
            (None, Some(only)) if known.len() == 1 => Ok(only.clone()),
            (None, _) => Err(StoreError::Unavailable(format!(
                "there are the datacentres {}: choose the nearest with --store-datacenter",
                names()
            ))),
        }
    }

    /// The datacentres of the database's nodes, at least one. A driver that could not read the topology when it connected knows none, and
    /// reads it again.
    async fn datacenters(&self) -> Result<BTreeSet<String>, StoreError> {
        let reading = async {
            loop {
                let state = self.db.session.get_cluster_state();
                let nodes = state.get_nodes_info().iter();
                let known: BTreeSet<String> =
                    nodes.filter_map(|node| node.datacenter.clone()).collect();
                if !known.is_empty() {
                    return known;
                }
                // If this fails, the state stays as it is.
                let _ = Box::pin(self.db.session.refresh_metadata()).await;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let known = tokio::time::timeout(TOPOLOGY_WAIT, reading).await;
        known.map_err(|_| {
            StoreError::Unavailable(
                "it does not say which nodes it has: wait until all of them have started"
                    .to_owned(),
            )
        })
    }

    async fn version(&self) -> Result<usize, StoreError> {
        let mut look =
            Statement::new(self.qualified("SELECT version FROM {ks}.schema_version WHERE key = 0"));
        look.set_consistency(Consistency::Serial);
        let rows = self.send(look, Vec::new()).await?;
        match rows.first().and_then(|row| row.columns.first()) {
            Some(Some(CqlValue::Int(version))) => usize::try_from(*version)
                .map_err(|_| StoreError::Corrupt("the version of the tables")),
            _ => Ok(0),
        }
    }

    /// Whether this node may change the tables now.
    async fn hold(&self, holder: &CqlValue) -> Result<bool, StoreError> {
        let rows = self
            .run(
                self.qualified(
                    "UPDATE {ks}.schema_version USING TTL ? SET holder = ? WHERE key = 0 IF holder = null",
                ),
                vec![CqlValue::Int(HOLD_SECONDS), holder.clone()],
            )
            .await?;
        Ok(matches!(
            rows.first().and_then(|row| row.columns.first()),
            Some(Some(CqlValue::Boolean(true)))
        ))
    }

    async fn release(&self, holder: &CqlValue) -> Result<(), StoreError> {
        self.run(
            self.qualified(
                "UPDATE {ks}.schema_version SET holder = null WHERE key = 0 IF holder = ?",
            ),
            vec![holder.clone()],
        )
        .await
        .map(drop)
    }

    async fn change(&self, from: usize, statements: &[&str]) -> Result<(), StoreError> {
        let packed = self.packed().await;
        for statement in statements {
            self.run(
                self.qualified(statement).replace("{packed}", packed),
                Vec::new(),
            )
            .await?;
        }
        let (old, new) = (CqlValue::Int(from as i32), CqlValue::Int(from as i32 + 1));
        // The first version replaces none. A version that another node has written meanwhile stays.
        let (condition, values) = if from == 0 {
            ("version = null", vec![new])
        } else {
            ("version = ?", vec![new, old])
        };
        let set =
            format!("UPDATE {{ks}}.schema_version SET version = ? WHERE key = 0 IF {condition}");
        self.run(self.qualified(&set), values).await.map(drop)
    }

    /// The compression options in this database's syntax. With Zstandard a user takes a fifth less than with LZ4.
    async fn packed(&self) -> &'static str {
        let is_scylla = self
            .run(
                "SELECT table_name FROM system_schema.scylla_tables LIMIT 1".to_owned(),
                Vec::new(),
            )
            .await
            .is_ok();
        if is_scylla {
            "{'sstable_compression': 'ZstdCompressor', 'chunk_length_in_kb': 32}"
        } else {
            "{'class': 'ZstdCompressor', 'chunk_length_in_kb': 32}"
        }
    }

    /// Inserts the keyspace's name.
    fn qualified(&self, statement: &str) -> String {
        statement.replace("{ks}", self.keyspace)
    }

    async fn run(&self, cql: String, values: Vec<CqlValue>) -> Result<Vec<Row>, StoreError> {
        self.send(Statement::new(cql), values).await
    }

    async fn send(
        &self,
        mut statement: Statement,
        values: Vec<CqlValue>,
    ) -> Result<Vec<Row>, StoreError> {
        statement.set_request_timeout(Some(DDL_TIMEOUT));
        let failed = |error: ExecutionError| classify(&error).error;
        let result = Box::pin(self.db.session.query_unpaged(statement, values))
            .await
            .map_err(failed)?;
        if !result.is_rows() {
            return Ok(Vec::new());
        }
        let rows = result
            .into_rows_result()
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let rows: Result<Vec<Row>, _> = rows
            .rows::<Row>()
            .map_err(|error| StoreError::Unavailable(error.to_string()))?
            .collect();
        rows.map_err(|error| StoreError::Unavailable(error.to_string()))
    }
}
