//! A server starts only if its data folder and its store belong together.

use std::path::Path;
use std::sync::Arc;

use confab_control::store::sqlite::SqliteStore;
use confab_control::{Config, ServeError, SharedStore, StoreConfig, WrongStore, serve};

use crate::harness::{cheap, eventually};

const STORE: &str = "confab.sqlite";

/// A data folder of a server that has run and ended.
async fn used() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    serve(cheap(&dir)).await.unwrap().shutdown().await;
    // All content is in the main file after the store's threads have closed it.
    let log = dir.path().join("confab.sqlite-wal");
    eventually(|| std::fs::metadata(&log).map_or(true, |log| log.len() == 0)).await;
    dir
}

async fn refusal(config: Config) -> String {
    match serve(config).await {
        Ok(_) => panic!("it starts"),
        Err(error) => error.to_string(),
    }
}

fn remove_store(folder: &Path) {
    for file in [STORE, "confab.sqlite-wal", "confab.sqlite-shm"] {
        let _ = std::fs::remove_file(folder.join(file));
    }
}

#[tokio::test]
async fn a_server_restarts_on_its_own_folder_and_store() {
    let dir = used().await;
    for _ in 0..2 {
        serve(cheap(&dir)).await.unwrap().shutdown().await;
    }
}

#[tokio::test]
async fn a_missing_or_empty_store_is_not_created_anew() {
    let dir = used().await;
    remove_store(dir.path());
    let lost = refusal(cheap(&dir)).await;
    assert!(lost.contains("restore the store from its backup"), "{lost}");
    assert!(!dir.path().join(STORE).exists(), "nothing was made");
    std::fs::write(dir.path().join(STORE), b"").unwrap();
    let empty = refusal(cheap(&dir)).await;
    assert!(
        empty.contains(STORE) && empty.contains("is empty"),
        "{empty}"
    );
    // As the error text says, to begin anew.
    std::fs::remove_file(dir.path().join("server.id")).unwrap();
    serve(cheap(&dir)).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn a_store_of_another_server_is_refused() {
    let (one, other) = (used().await, used().await);
    remove_store(one.path());
    std::fs::copy(other.path().join(STORE), one.path().join(STORE)).unwrap();
    let refused = refusal(cheap(&one)).await;
    assert!(refused.contains("belongs to another server"), "{refused}");
    let new = tempfile::tempdir().unwrap();
    std::fs::copy(other.path().join(STORE), new.path().join(STORE)).unwrap();
    let refused = refusal(cheap(&new)).await;
    assert!(refused.contains("cluster-keys"), "{refused}");
    assert!(!new.path().join("ca.key").exists(), "no keys were made");
}

#[tokio::test]
async fn a_shared_store_belongs_to_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("shared.sqlite")).unwrap();
    let shared = SharedStore(Arc::new(store));
    let config = |dir: &tempfile::TempDir| Config {
        store: StoreConfig::Shared(shared.clone()),
        ..cheap(dir)
    };
    let (one, other) = (tempfile::tempdir().unwrap(), used().await);
    serve(config(&one)).await.unwrap().shutdown().await;
    let refused = serve(config(&other)).await.err();
    let is_wrong = matches!(
        refused,
        Some(ServeError::WrongStore(WrongStore::Another { .. }))
    );
    assert!(is_wrong, "{refused:?}");
}

#[tokio::test]
async fn missing_or_empty_keys_are_named_and_not_created_anew() {
    for file in ["ca.crt", "token.key"] {
        let dir = used().await;
        let path = dir.path().join(file);
        std::fs::remove_file(&path).unwrap();
        let lost = refusal(cheap(&dir)).await;
        assert!(lost.contains(file) && lost.contains("backup"), "{lost}");
        assert!(!path.exists());
    }
    for file in ["ca.crt", "ca.key", "token.key", "server.id"] {
        let dir = used().await;
        std::fs::write(dir.path().join(file), b"").unwrap();
        let empty = refusal(cheap(&dir)).await;
        assert!(empty.contains(file) && empty.contains("backup"), "{empty}");
    }
    // Certificates that the CA can issue are created anew.
    let dir = used().await;
    for file in ["server.crt", "server.key"] {
        std::fs::write(dir.path().join(file), b"").unwrap();
    }
    serve(cheap(&dir)).await.unwrap().shutdown().await;
}
