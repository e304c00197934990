//! The database of the tests: one for the test program, a keyspace for each test.
//!
//! `CONFAB_TEST_CQL=HOST:PORT` takes one that runs already. Without it `scripts/cassandra` starts one, which ends with this
//! program however that ends: it waits for the end of its standard input.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::*;
use crate::random;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/cassandra");
/// Memory, where there is some: a test waits for the disk at every write.
const MEMORY: &str = "/dev/shm";
/// Seconds that a node may take to start beside others and under load.
const START_WAIT: &str = "300";

/// Runs the test on a store in a keyspace of its own, which is gone afterwards; skips it loudly without a database.
pub(super) async fn with_store(test: impl AsyncFnOnce(CqlStore)) {
    let Some(config) = config() else { return };
    let store = open(&config).await;
    test(store.clone()).await;
    drop_keyspace(&store, &config).await;
}

/// The same with three nodes on one database.
pub(super) async fn with_stores(test: impl AsyncFnOnce([CqlStore; 3])) {
    let Some(config) = config() else { return };
    let first = open(&config).await;
    let stores = [first.clone(), open(&config).await, open(&config).await];
    test(stores).await;
    drop_keyspace(&first, &config).await;
}

pub(super) async fn open(config: &CqlConfig) -> CqlStore {
    CqlStore::open(config).await.expect("the database is there")
}

pub(super) async fn drop_keyspace(store: &CqlStore, config: &CqlConfig) {
    let mut drop = scylla::statement::unprepared::Statement::new(format!(
        "DROP KEYSPACE {}",
        config.address.keyspace
    ));
    drop.set_request_timeout(Some(Duration::from_secs(60)));
    let dropped = store.core.db.session.query_unpaged(drop, ()).await;
    dropped.expect("the keyspace is dropped");
}

/// A keyspace that nobody else uses, at the server that all tests share.
pub(super) fn config() -> Option<CqlConfig> {
    shared().map(config_of)
}

pub(super) fn config_of(address: &str) -> CqlConfig {
    let suffix = data_encoding::HEXLOWER.encode(&random::bytes::<8>());
    CqlConfig {
        address: format!("cql://{address}/test_{suffix}")
            .parse()
            .expect("an address"),
        login: None,
        tls: None,
        replication: 1,
        datacenter: None,
    }
}

/// The folder of the server that all tests share, when this program has started it.
pub(super) fn shared_folder() -> Option<&'static Path> {
    shared()?;
    let server = SHARED.get()?.as_ref()?;
    server.as_ref().map(|(server, _)| server.folder.as_path())
}

/// `None`: there is none. `Some(None)`: one of somebody else's.
type Shared = Option<Option<(Running, String)>>;
static SHARED: OnceLock<Shared> = OnceLock::new();

fn shared() -> Option<&'static str> {
    static ADDRESS: OnceLock<Option<String>> = OnceLock::new();
    let given = ADDRESS.get_or_init(|| std::env::var("CONFAB_TEST_CQL").ok());
    let server = SHARED.get_or_init(|| {
        if given.is_some() {
            return Some(None);
        }
        let since = Instant::now();
        match Running::start() {
            Ok(running) => {
                say(&format!("the database took {:?} to start", since.elapsed()));
                Some(Some(running))
            }
            Err(reason) => {
                missing(&reason);
                None
            }
        }
    });
    match server {
        None => None,
        Some(None) => given.as_deref(),
        Some(Some((_, address))) => Some(address),
    }
}

/// Says that there is no database, or fails where there has to be one.
pub(super) fn missing(reason: &str) {
    let text = format!(
        "no database for the tests of the CQL store ({reason}): `scripts/setup cql` installs Java and Maven, or give \
         CONFAB_TEST_CQL=HOST:PORT"
    );
    let is_required = ["CI", "CONFAB_REQUIRE_CQL"]
        .iter()
        .any(|name| std::env::var(name).is_ok_and(|value| !value.is_empty() && value != "0"));
    assert!(!is_required, "{text}");
    say(&format!("SKIPPED, {text}"));
}

/// Past the test harness, which keeps what a test that passes prints to itself.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "confab-control tests: {text}");
}

/// A server that goes with this program: its standard input ends with it.
struct Running {
    folder: PathBuf,
    _child: Child,
}

impl Running {
    fn start() -> Result<(Self, String), String> {
        let folder = folder();
        let mut child = Command::new(SCRIPT)
            .arg("run")
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{SCRIPT}: {error}"))?;
        let mut line = String::new();
        let output = child.stdout.take().ok_or("it has no output")?;
        BufReader::new(output)
            .read_line(&mut line)
            .map_err(|error| error.to_string())?;
        let address = line.trim().strip_prefix("ready ").map(str::to_owned);
        let running = Self {
            folder,
            _child: child,
        };
        let address = address.ok_or("scripts/cassandra did not get it to run")?;
        Ok((running, address))
    }
}

fn folder() -> PathBuf {
    let suffix = data_encoding::HEXLOWER.encode(&random::bytes::<8>());
    let name = format!("confab-cql-{suffix}");
    let memory = Path::new(MEMORY);
    if memory.is_dir() {
        memory.join(name)
    } else {
        std::env::temp_dir().join(name)
    }
}

/// A server that a test stops and starts.
pub(super) struct Server {
    folder: PathBuf,
    pub(super) address: String,
    /// The addresses of its cluster, itself included.
    seeds: String,
}

impl Server {
    /// `None` where the shared one can't be had either.
    pub(super) fn own() -> Option<Self> {
        Self::configured(|_| String::new())
    }

    /// One with more configuration, which may name its address.
    pub(super) fn configured(more: impl FnOnce(&str) -> String) -> Option<Self> {
        shared_folder()?;
        let address = Self::free_address();
        let more = more(&address);
        let server = Self::prepare(address.clone(), address, &more);
        server.start();
        Some(server)
    }

    /// Fetches what a server needs, if it is not there yet.
    pub(super) fn fetch() -> Result<(), String> {
        let fetched = Command::new(SCRIPT).arg("fetch").status();
        match fetched {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err("scripts/cassandra cannot run it".to_owned()),
            Err(error) => Err(format!("{SCRIPT}: {error}")),
        }
    }

    pub(super) fn free_address() -> String {
        let output = Command::new(SCRIPT).arg("address").output();
        let address = String::from_utf8(output.expect("the script runs").stdout);
        address.expect("an address").trim().to_owned()
    }

    pub(super) fn prepare(address: String, seeds: String, more: &str) -> Self {
        let folder = folder();
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("more.yaml"), more).expect("it is written");
        Self {
            folder,
            address,
            seeds,
        }
    }

    pub(super) fn config(&self) -> CqlConfig {
        config_of(&self.address)
    }

    /// Starts it with the data that it has.
    pub(super) fn start(&self) {
        let output = Command::new(SCRIPT)
            .arg("start")
            .arg(&self.folder)
            .env("CASSANDRA_ADDRESS", &self.address)
            .env("CASSANDRA_SEEDS", &self.seeds)
            .env("CASSANDRA_START_WAIT", START_WAIT)
            .env("CASSANDRA_PARENT", std::process::id().to_string())
            .stderr(Stdio::inherit())
            .output()
            .expect("the script runs");
        assert!(output.status.success(), "the database runs");
    }

    /// As if the power had failed.
    pub(super) fn stop(&self) {
        self.script("stop");
    }

    /// As if it waited for a disk that does not answer: its connections stay open.
    pub(super) fn freeze(&self) {
        self.script("freeze");
    }

    pub(super) fn thaw(&self) {
        self.script("thaw");
    }

    fn script(&self, command: &str) {
        let done = Command::new(SCRIPT).arg(command).arg(&self.folder).status();
        assert!(done.expect("the script runs").success(), "{command}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new(SCRIPT).arg("stop").arg(&self.folder).status();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
