//! Stores on the database of the tests: a keyspace for each test.

use std::time::Duration;

use confab_testdb as testdb;

use super::*;

/// Runs the test on a store in a new keyspace, and drops the keyspace. Without a database it prints a warning and skips the test.
pub(super) async fn with_store(test: impl AsyncFnOnce(CqlStore)) {
    let Some(config) = config() else { return };
    let store = open(&config).await;
    test(store.clone()).await;
    drop_keyspace(&store, &config).await;
}

/// The same with three stores on one keyspace.
pub(super) async fn with_stores(test: impl AsyncFnOnce([CqlStore; 3])) {
    let Some(config) = config() else { return };
    let first = open(&config).await;
    let stores = [first.clone(), open(&config).await, open(&config).await];
    test(stores).await;
    drop_keyspace(&first, &config).await;
}

pub(crate) async fn open(config: &CqlConfig) -> CqlStore {
    CqlStore::open(config).await.expect("the database is there")
}

pub(crate) async fn drop_keyspace(store: &CqlStore, config: &CqlConfig) {
    let mut drop = scylla::statement::unprepared::Statement::new(format!(
        "DROP KEYSPACE {}",
        config.address.keyspace
    ));
    drop.set_request_timeout(Some(Duration::from_secs(60)));
    let dropped = store.core.db.session.query_unpaged(drop, ()).await;
    dropped.expect("the keyspace is dropped");
}

/// A new keyspace at the database that all tests share.
pub(crate) fn config() -> Option<CqlConfig> {
    testdb::shared().map(|shared| config_of(&shared.address))
}

/// A new keyspace.
pub(super) fn config_of(address: &str) -> CqlConfig {
    CqlConfig::local(testdb::fresh_keyspace(address).parse().expect("an address"))
}
