//! CQL databases for tests and benches: a running one, given by `CONFAB_TEST_CQL=HOST:PORT`, or temporary nodes of Apache
//! Cassandra, started by `scripts/cassandra`, which end with the program that started them, even if it crashes. [`MailServer`]: a mail server.
//!
//! Functions block while processes start and stop: a node starts in 5 s on an idle machine.

mod mail_server;

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use tempfile::TempDir;

pub use mail_server::{MailServer, Received};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/cassandra");
/// A file system in memory, used if it exists: on a disk a node waits at every write.
const MEMORY: &str = "/dev/shm";
/// The timeout of a node's start in seconds, beside others and under load.
const START_WAIT: &str = "300";
/// The port for clients.
const PORT: u16 = 9042;

/// No database can be started.
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
    /// `HOST:PORT`.
    pub address: String,
    /// The node, if this program started it.
    pub node: Option<Node>,
}

/// The database that all of a program's tests share. Without one it prints a warning and returns `None`.
///
/// # Panics
///
/// Without a database if `CI` or `CONFAB_REQUIRE_CQL` is set.
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

/// The value in `found`. On an error it prints a warning that a test is skipped, and returns `None`.
///
/// # Panics
///
/// On an error if `CI` or `CONFAB_REQUIRE_CQL` is set.
pub fn or_skip<T>(found: Result<T, NoDatabase>) -> Option<T> {
    let reason = match found {
        Ok(found) => return Some(found),
        Err(reason) => reason,
    };
    let is_set = |name| std::env::var(name).is_ok_and(|value| !value.is_empty() && value != "0");
    assert!(!is_set("CI") && !is_set("CONFAB_REQUIRE_CQL"), "{reason}");
    // Not by `eprintln!`: the test harness captures that in tests that pass.
    let _ = writeln!(io::stderr().lock(), "SKIPPED, {reason}");
    None
}

/// The URL of a new keyspace for `confab-control serve --store`. `address` is `HOST:PORT`, or several with commas between.
pub fn fresh_keyspace(address: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let (time, process) = (since_epoch.as_millis(), std::process::id());
    format!("cql://{address}/test_{time:x}_{process:x}_{count:x}")
}

/// A node of Apache Cassandra, running or stopped. Dropping it stops the node and deletes its data.
#[derive(Debug)]
pub struct Node {
    folder: TempDir,
    host: String,
    /// The hosts of its cluster, itself included, with commas between.
    seeds: String,
}

impl Node {
    /// Starts a node that is a cluster by itself.
    ///
    /// # Errors
    ///
    /// [`NoDatabase`] if there is no Java, or the node does not start.
    pub fn start_new() -> Result<Self, NoDatabase> {
        let host = Self::free_host()?;
        let node = Self::prepare(&host, &host, "")?;
        node.start()?;
        Ok(node)
    }

    /// A node on this host, not started yet, in the cluster of `seeds`, with `more` lines of configuration.
    ///
    /// # Errors
    ///
    /// [`NoDatabase`] if its folder cannot be written.
    pub fn prepare(host: &str, seeds: &str, more: &str) -> Result<Self, NoDatabase> {
        let folder = scratch()?;
        fs::write(folder.path().join("more.yaml"), more)?;
        Ok(Self {
            folder,
            host: host.to_owned(),
            seeds: seeds.to_owned(),
        })
    }

    /// A loopback address without a node.
    ///
    /// # Errors
    ///
    /// [`NoDatabase`] if the script does not run.
    pub fn free_host() -> Result<String, NoDatabase> {
        let host = Command::new(SCRIPT).arg("address").output()?.stdout;
        Ok(String::from_utf8_lossy(&host).trim().to_owned())
    }

    /// Fetches the jars of the database if they are missing. Call it before several nodes are started at the same time.
    ///
    /// # Errors
    ///
    /// [`NoDatabase`] if there is no Java, or the jars cannot be fetched.
    pub fn fetch() -> Result<(), NoDatabase> {
        done(Command::new(SCRIPT).arg("fetch"))
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> String {
        format!("{}:{PORT}", self.host)
    }

    /// Starts it with its data.
    ///
    /// # Errors
    ///
    /// [`NoDatabase`] if there is no Java, or the node does not start.
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

    /// Kills it without a shutdown.
    ///
    /// # Errors
    ///
    /// [`NoDatabase`] if the script fails.
    pub fn stop(&self) -> Result<(), NoDatabase> {
        done(&mut self.script("stop"))
    }

    /// Suspends it, as if its disk did not answer: its connections stay open.
    ///
    /// # Errors
    ///
    /// [`NoDatabase`] if the script fails.
    pub fn freeze(&self) -> Result<(), NoDatabase> {
        done(&mut self.script("freeze"))
    }

    /// Resumes it.
    ///
    /// # Errors
    ///
    /// [`NoDatabase`] if the script fails.
    pub fn thaw(&self) -> Result<(), NoDatabase> {
        done(&mut self.script("thaw"))
    }

    /// Runs `nodetool` with this command, for example `flush`.
    ///
    /// # Errors
    ///
    /// [`NoDatabase`] if the script fails.
    pub fn nodetool(&self, command: &str) -> Result<(), NoDatabase> {
        done(self.script("nodetool").arg(command))
    }

    /// The size of each table of a keyspace, in bytes of its files.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
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

/// A temporary folder, in memory if possible.
///
/// # Errors
///
/// If it cannot be created.
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
