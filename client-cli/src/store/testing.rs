//! A store for tests.

use super::Store;

/// A store in a directory that goes with the second value.
pub(super) async fn store() -> (Store, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(Some(home.path().join("c"))).await.unwrap();
    (store, home)
}
