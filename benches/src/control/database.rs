//! A throw-away CQL database: `scripts/cassandra`, as the tests of the store have it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use confab_control::store::cql::config::CqlConfig;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::ControlError;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/cassandra");
/// Memory, where there is some: the machine's disk is not what is measured.
pub(super) const MEMORY: &str = "/dev/shm";

/// A database of one node, which goes with this program.
pub struct Database {
    /// `host:port`.
    pub address: String,
    folder: PathBuf,
    /// Its standard input ends with it.
    _child: Child,
    _scratch: tempfile::TempDir,
}

impl Database {
    /// Starts one; fetches it before if it was never fetched.
    pub async fn start() -> Result<Self, ControlError> {
        let failed = |what: String| ControlError::Database(what);
        let scratch = scratch()?;
        let folder = scratch.path().join("node");
        let mut child = Command::new(SCRIPT)
            .arg("run")
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(format!("{SCRIPT}: {error}")))?;
        let output = child.stdout.take();
        let output = output.ok_or_else(|| failed("it has no output".to_owned()))?;
        let line = BufReader::new(output).lines().next_line().await?;
        let address = line
            .as_deref()
            .and_then(|line| line.trim().strip_prefix("ready "));
        let address = address.ok_or_else(|| failed("scripts/cassandra did not start it".into()))?;
        Ok(Self {
            address: address.to_owned(),
            folder,
            _child: child,
            _scratch: scratch,
        })
    }

    /// How a control server reaches a keyspace of it.
    pub(super) fn config(&self, keyspace: &str) -> Result<CqlConfig, ControlError> {
        let address = self.url(keyspace).parse();
        Ok(CqlConfig {
            address: address.map_err(ControlError::Database)?,
            login: None,
            tls: None,
            replication: 1,
            datacenter: None,
        })
    }

    /// The same as a flag.
    pub(super) fn url(&self, keyspace: &str) -> String {
        format!("cql://{}/{keyspace}", self.address)
    }

    /// Runs the database's own tool.
    pub(super) async fn tool(&self, command: &str) -> Result<(), ControlError> {
        let mut tool = Command::new(SCRIPT);
        tool.arg("nodetool").arg(&self.folder).arg(command);
        match tool.status().await?.success() {
            true => Ok(()),
            false => Err(ControlError::Database(format!("nodetool {command} failed"))),
        }
    }

    /// Bytes of the files of a keyspace's tables, by table.
    pub(super) fn tables(&self, keyspace: &str) -> Result<Vec<(String, u64)>, ControlError> {
        let mut tables = Vec::new();
        for table in std::fs::read_dir(self.folder.join("data").join(keyspace))? {
            let table = table?;
            let name = table.file_name().to_string_lossy().into_owned();
            let name = name.split('-').next().unwrap_or_default().to_owned();
            tables.push((name, files(&table.path())?));
        }
        Ok(tables)
    }
}

/// A folder in memory, where there is some.
pub(super) fn scratch() -> Result<tempfile::TempDir, ControlError> {
    let memory = Path::new(MEMORY);
    Ok(match memory.is_dir() {
        true => tempfile::tempdir_in(memory)?,
        false => tempfile::tempdir()?,
    })
}

fn files(folder: &Path) -> Result<u64, ControlError> {
    let mut bytes = 0;
    for file in std::fs::read_dir(folder)? {
        let about = file?.metadata()?;
        if about.is_file() {
            bytes += about.len();
        }
    }
    Ok(bytes)
}
