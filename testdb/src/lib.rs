//! CQL databases for tests and benches: one that runs already, by `CONFAB_TEST_CQL=HOST:PORT`, or throw-away nodes of Apache
//! Cassandra by `scripts/cassandra`, which end with the program that started them, however that ends.
//!
//! Calls wait for processes: the start of a node takes 5 s on an idle machine.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use tempfile::TempDir;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/cassandra");
/// Memory, where there is some: a node waits for the disk at every write.
const MEMORY: &str = "/dev/shm";
/// Seconds that a node may take to start beside others and under load.
const START_WAIT: &str = "300";
/// Where a node listens for clients.
const PORT: u16 = 9042;

/// There is no database.
#[derive(Debug, thiserror::Error)]
#[error(
    "no database ({0}): `scripts/setup cql` installs Java and Maven, or give CONFAB_TEST_CQL=HOST:PORT"
)]
pub struct NoDatabase(String);

impl From<io::Error> for NoDatabase {
    fn from(error: io::Error) -> Self {
        Self(format!("{SCRIPT}: {error}"))
    }
}

/// The database that all of a program's tests share.
#[derive(Debug)]
pub struct Shared {
    /// HOST:PORT.
    pub address: String,
    /// The node, when this program has started it.
    pub node: Option<Node>,
}

/// The database that all of a program's tests share; `None`, and loudly, where there is none.
///
/// # Panics
///
/// Where there has to be one: `CI` or `CONFAB_REQUIRE_CQL` is set.
pub fn shared() -> Option<&'static Shared> {
    static SHARED: OnceLock<Option<Shared>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| {
        if let Ok(address) = std::env::var("CONFAB_TEST_CQL") {
            let node = None;
            return Some(Shared { address, node });
        }
        let node = or_skip(Node::start_new())?;
        Some(Shared {
            address: node.address(),
            node: Some(node),
        })
    });
    shared.as_ref()
}

/// What was found, or `None` after a word to the person that something is skipped for lack of it.
///
/// # Panics
///
/// Where there has to be one: `CI` or `CONFAB_REQUIRE_CQL` is set.
pub fn or_skip<T>(found: Result<T, NoDatabase>) -> Option<T> {
    let reason = match found {
        Ok(found) => return Some(found),
        Err(reason) => reason,
    };
    let is_set = |name| std::env::var(name).is_ok_and(|value| !value.is_empty() && value != "0");
    assert!(!is_set("CI") && !is_set("CONFAB_REQUIRE_CQL"), "{reason}");
    // Past the test harness, which keeps what a test that passes prints to itself.
    let _ = writeln!(io::stderr().lock(), "SKIPPED, {reason}");
    None
}

/// A keyspace that nobody else uses, as `confab-control serve --store` takes it: `address` is HOST:PORT, or several.
pub fn fresh_keyspace(address: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let (time, process) = (since_epoch.as_millis(), std::process::id());
    format!("cql://{address}/test_{time:x}_{process:x}_{count:x}")
}

/// A node, which may run or not. It ends with this value and with the program; what it has goes with it.
#[derive(Debug)]
pub struct Node {
    folder: TempDir,
    host: String,
    /// Hosts of its cluster, itself included, with commas between.
    seeds: String,
}

impl Node {
    /// Starts one that is a cluster by itself.
    ///
    /// # Errors
    ///
    /// [`NoDatabase`] when there is no Java, or it does not start.
    pub fn start_new() -> Result<Self, NoDatabase> {
        let host = Self::free_host()?;
        let node = Self::prepare(&host, &host, "")?;
        node.start()?;
        Ok(node)
    }

    /// One that is to be started on this host, in the cluster of `seeds`, with `more` lines of configuration.
    ///
    /// # Errors
    ///
    /// [`NoDatabase`] when its folder cannot be written.
    pub fn prepare(host: &str, seeds: &str, more: &str) -> Result<Self, NoDatabase> {
        let folder = scratch()?;
        fs::write(folder.path().join("more.yaml"), more)?;
        Ok(Self {
            folder,
            host: host.to_owned(),
            seeds: seeds.to_owned(),
        })
    }

    /// A loopback address that no node has yet.
    ///
    /// # Errors
    ///
    /// [`NoDatabase`] when the script does not run.
    pub fn free_host() -> Result<String, NoDatabase> {
        let host = Command::new(SCRIPT).arg("address").output()?.stdout;
        Ok(String::from_utf8_lossy(&host).trim().to_owned())
    }

    /// Fetches what nodes need, if it is not there yet: beforehand, where several are started at the same time.
    ///
    /// # Errors
    ///
    /// [`NoDatabase`] when there is no Java, or the rest cannot be fetched.
    pub fn fetch() -> Result<(), NoDatabase> {
        done(Command::new(SCRIPT).arg("fetch"))
    }

    /// HOST:PORT.
    pub fn address(&self) -> String {
        format!("{}:{PORT}", self.host)
    }

    /// Starts it with the data that it has.
    ///
    /// # Errors
    ///
    /// [`NoDatabase`] when there is no Java, or it does not start.
    pub fn start(&self) -> Result<(), NoDatabase> {
        let mut start = self.script("start");
        start
            .env("CASSANDRA_ADDRESS", &self.host)
            .env("CASSANDRA_SEEDS", &self.seeds)
            .env("CASSANDRA_START_WAIT", START_WAIT)
            .env("CASSANDRA_PARENT", std::process::id().to_string())
            .stdout(Stdio::null());
        done(&mut start)
    }

    /// Ends it as if the power had failed.
    ///
    /// # Errors
    ///
    /// [`NoDatabase`] when the script fails.
    pub fn stop(&self) -> Result<(), NoDatabase> {
        done(&mut self.script("stop"))
    }

    /// Lets it stand still as if it waited for a disk that does not answer: its connections stay open.
    ///
    /// # Errors
    ///
    /// [`NoDatabase`] when the script fails.
    pub fn freeze(&self) -> Result<(), NoDatabase> {
        done(&mut self.script("freeze"))
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// [`NoDatabase`] when the script fails.
    pub fn thaw(&self) -> Result<(), NoDatabase> {
        done(&mut self.script("thaw"))
    }

    /// Runs the database's own tool, for example `flush`.
    ///
    /// # Errors
    ///
    /// [`NoDatabase`] when the script fails.
    pub fn nodetool(&self, command: &str) -> Result<(), NoDatabase> {
        done(self.script("nodetool").arg(command))
    }

    /// Bytes of the files of the tables of a keyspace, by table.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn tables(&self, keyspace: &str) -> io::Result<Vec<(String, u64)>> {
        let mut tables = Vec::new();
        for table in fs::read_dir(self.folder.path().join("data").join(keyspace))? {
            let table = table?;
            let name = table.file_name().to_string_lossy().into_owned();
            let name = name.split('-').next().unwrap_or_default().to_owned();
            tables.push((name, bytes_of_files(&table.path())?));
        }
        Ok(tables)
    }

    fn script(&self, command: &str) -> Command {
        let mut script = Command::new(SCRIPT);
        script.arg(command).arg(self.folder.path());
        script
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.stop();
    }
}

/// A folder in memory, where there is some.
///
/// # Errors
///
/// When it cannot be made.
pub fn scratch() -> io::Result<TempDir> {
    let memory = Path::new(MEMORY);
    let mut name = tempfile::Builder::new();
    name.prefix("confab-testdb-");
    match memory.is_dir() {
        true => name.tempdir_in(memory),
        false => name.tempdir(),
    }
}

fn done(command: &mut Command) -> Result<(), NoDatabase> {
    match command.status()?.success() {
        true => Ok(()),
        false => Err(NoDatabase(format!("{command:?} failed"))),
    }
}

fn bytes_of_files(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for file in fs::read_dir(folder)? {
        let about = file?.metadata()?;
        if about.is_file() {
            bytes += about.len();
        }
    }
    Ok(bytes)
}
