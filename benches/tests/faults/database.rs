//! The database that control nodes share: one for the test program, a keyspace for each test.
//!
//! `CONFAB_TEST_CQL=HOST:PORT` takes one that runs already. Without it `scripts/cassandra` starts one, which ends with this
//! program however that ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::figures::say;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/cassandra");
/// Memory, where there is some: a node waits for the disk at every write.
const MEMORY: &str = "/dev/shm";
/// Seconds that it may take to start beside others and under load.
const START_WAIT: &str = "300";

/// A database.
#[derive(Debug)]
pub struct Database {
    /// HOST:PORT.
    pub address: String,
    /// Where it is, when this program has started it.
    folder: Option<PathBuf>,
}

impl Database {
    /// The one that all tests share; `None`, and loudly, where there is none.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Database>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| match std::env::var("CONFAB_TEST_CQL") {
            Ok(address) => Some(Self {
                address,
                folder: None,
            }),
            Err(_) => Self::own(),
        });
        shared.as_ref()
    }

    /// One of the test's own, which it may stop.
    pub fn own() -> Option<Self> {
        let folder = folder();
        match start(&folder) {
            Ok(address) => Some(Self {
                address,
                folder: Some(folder),
            }),
            Err(reason) => {
                missing(&reason);
                None
            }
        }
    }

    /// A keyspace that nobody else uses, as `--store` takes it.
    pub fn keyspace(&self) -> String {
        format!(
            "cql://{}/faults_{:016x}",
            self.address,
            rand::random::<u64>()
        )
    }

    /// Ends it as if the power had failed.
    pub fn stop(&self) {
        self.script("stop");
    }

    /// Lets it stand still, its connections open.
    pub fn freeze(&self) {
        self.script("freeze");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.script("thaw");
    }

    /// Starts it again with the data that it has.
    pub fn restart(&self) {
        let folder = self.folder.as_ref().expect("this program's own");
        let address = start(folder).expect("it starts again");
        assert_eq!(address, self.address);
    }

    fn script(&self, command: &str) {
        let folder = self.folder.as_ref().expect("this program's own");
        let done = Command::new(SCRIPT).arg(command).arg(folder).status();
        assert!(done.expect("the script runs").success(), "{command}");
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let _ = Command::new(SCRIPT).arg("stop").arg(folder).status();
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Starts a node; where it is.
fn start(folder: &Path) -> Result<String, String> {
    let output = Command::new(SCRIPT)
        .arg("start")
        .arg(folder)
        .env("CASSANDRA_START_WAIT", START_WAIT)
        .env("CASSANDRA_PARENT", std::process::id().to_string())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{SCRIPT}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let address = said.lines().find_map(|line| line.strip_prefix("ready "));
    match address {
        Some(address) => Ok(address.trim().to_owned()),
        None => Err("scripts/cassandra did not get it to run".to_owned()),
    }
}

fn folder() -> PathBuf {
    let name = format!("confab-faults-{:016x}", rand::random::<u64>());
    let memory = Path::new(MEMORY);
    if memory.is_dir() {
        memory.join(name)
    } else {
        std::env::temp_dir().join(name)
    }
}

/// Says that there is no database, or fails where there has to be one.
fn missing(reason: &str) {
    let text = format!(
        "no database for several control nodes ({reason}): `scripts/setup cql` installs Java and Maven, or give \
         CONFAB_TEST_CQL=HOST:PORT"
    );
    let is_required = ["CI", "CONFAB_REQUIRE_CQL"]
        .iter()
        .any(|name| std::env::var(name).is_ok_and(|value| !value.is_empty() && value != "0"));
    assert!(!is_required, "{text}");
    say(&format!("SKIPPED, {text}"));
}
