//! The store and the keys in the data folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::{Config, SharedStore, StoreConfig};
use super::errors::{OWNER_FILE, ServeError};
use super::owner::{self, Owner};
use crate::clock::UnixMillis;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::store::cql::CqlStore;
use crate::store::metered::MeteredStore;
use crate::store::remembering::RememberingStore;
use crate::store::sqlite::SqliteStore;
use crate::store::turns::TurnsStore;
use crate::tls::TlsError;
use crate::tls::authority::{Authority, CA_FILE};
use crate::tls::files::{self, Readers};

pub(super) const TOKEN_KEY_FILE: &str = "token.key";
const STORE_FILE: &str = "confab.sqlite";

/// Opens the store and checks that it belongs to the server whose keys are in the data folder.
pub(super) async fn open_own_store(
    config: &Config,
    metrics: &Metrics,
) -> Result<Arc<dyn Store>, ServeError> {
    let folder = &config.data_dir;
    let owner = Owner::read(folder)?;
    // Before any file is created.
    owner::check_keys(owner, folder, &[CA_FILE, TOKEN_KEY_FILE])?;
    let name = match &config.store {
        StoreConfig::Sqlite(path) => {
            let path = path.clone().unwrap_or_else(|| in_folder(folder));
            owner::check_file(owner, folder, &path)?;
            path.display().to_string()
        }
        StoreConfig::Cql(cql) => format!("the keyspace {} of the database", cql.address.keyspace),
        StoreConfig::Shared(_) => "the shared store".to_owned(),
    };
    let store = open_store(config, metrics).await?;
    owner::match_store(owner, folder, (store.as_ref(), name)).await?;
    Ok(store)
}

/// The SQLite store of a data folder.
pub(super) fn in_folder(folder: &Path) -> PathBuf {
    folder.join(STORE_FILE)
}

/// Opens the store and wraps it in its decorators.
async fn open_store(config: &Config, metrics: &Metrics) -> Result<Arc<dyn Store>, ServeError> {
    let opened: Arc<dyn Store> = match &config.store {
        StoreConfig::Sqlite(path) => {
            let default = || in_folder(&config.data_dir);
            let path = path.clone().unwrap_or_else(default);
            Arc::new(SqliteStore::open(&path)?)
        }
        StoreConfig::Cql(cql) => Arc::new(CqlStore::open(cql).await?),
        StoreConfig::Shared(SharedStore(store)) => store.clone(),
    };
    let metrics = metrics.clone();
    let report = move |operation, result, took| metrics.store.observe(operation, result, took);
    let mut store: Arc<dyn Store> = Arc::new(MeteredStore::new(opened, report));
    // A file does not become unreachable while the server runs.
    if store.is_shared() {
        store = Arc::new(RememberingStore::new(store));
    }
    Ok(Arc::new(TurnsStore::new(store)))
}

/// Copies the files that all nodes of the cluster share from one data folder into another, and creates missing ones. Copies the
/// CA's key only if asked to. Returns the written files.
pub(crate) fn copy_cluster_keys(
    from: &Path,
    to: &Path,
    with_ca_key: bool,
    now: UnixMillis,
) -> Result<Vec<PathBuf>, TlsError> {
    Authority::open_or_create(from, now)?;
    files::key(&from.join(TOKEN_KEY_FILE))?;
    files::make_folder(to)?;
    let mut written = Authority::copy(from, to, with_ca_key)?;
    Owner::read_or_create(from)?.copy_to(to)?;
    written.push(to.join(OWNER_FILE));
    let token_key = to.join(TOKEN_KEY_FILE);
    files::copy(&from.join(TOKEN_KEY_FILE), &token_key, Readers::Owner)?;
    written.push(token_key);
    Ok(written)
}
