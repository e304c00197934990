//! What the client keeps between two runs, in one directory that only its user can read.
//!
//! * [`sessions`]: the tokens, rotated under a lock;
//! * [`known_servers`]: how each server was trusted.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub mod known_servers;
pub mod sessions;

/// How long to wait for another process that holds a lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(20);

/// Time between two tries to take a lock.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Why something could not be kept or found again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Neither a flag nor the environment says where.
    #[error("no home directory: say where to keep the session with --config-dir")]
    NoHome,
    /// The operating system refused.
    #[error(
        "cannot {doing} {path}: {error}; check the permissions or choose another place with --config-dir"
    )]
    Io {
        /// A verb.
        doing: &'static str,
        /// Of which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file was changed by hand, or by a later version.
    #[error("{path} is damaged ({reason}): delete it and log in again")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What is remembered of a server cannot be read.
    #[error(
        "the line of {server} in {path} is damaged: ask the server's operator what `confab-control fingerprint` prints \
         there, and give that with --fingerprint; the line is written anew then"
    )]
    BadEntry {
        /// Which file.
        path: PathBuf,
        /// Of which server.
        server: String,
    },
    /// Another process holds the lock for too long.
    #[error("another confab process has held {path} for {} s: end it and try again", LOCK_TIMEOUT.as_secs())]
    Locked {
        /// Which lock.
        path: PathBuf,
    },
}

/// The directory; it exists and has mode 0700.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

/// Held until dropped: nobody else changes the files of its kind meanwhile.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Store {
    /// Opens `dir`, or `$XDG_CONFIG_HOME/confab`, or the platform's own place for it; creates it when it is not there.
    pub fn open(dir: Option<PathBuf>) -> Result<Self, StoreError> {
        let dir = dir.or_else(default_dir).ok_or(StoreError::NoHome)?;
        create_private_dir(&dir).map_err(|error| io_error("create", &dir, error))?;
        Ok(Self { dir })
    }

    /// Takes the lock called `name`, waiting for other processes.
    pub async fn lock(&self, name: &str) -> Result<Lock, StoreError> {
        let path = self.dir.join(name);
        let file = private_file()
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| io_error("open", &path, error))?;
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(StoreError::Locked { path });
                }
                Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_RETRY).await,
                Err(TryLockError::Error(error)) => return Err(io_error("lock", &path, error)),
            }
        }
    }

    /// The whole of a file; `None` when there is none.
    fn read(&self, name: &str) -> Result<Option<String>, StoreError> {
        let path = self.dir.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", &path, error)),
        }
    }

    /// Replaces a file in one step: whoever reads it finds the old or the new, and after a power cut too.
    fn write(&self, name: &str, text: &str) -> Result<(), StoreError> {
        let path = self.dir.join(name);
        let temporary = self.dir.join(format!(".{name}.{}", std::process::id()));
        let write = || {
            let mut file = private_file()
                .create(true)
                .truncate(true)
                .open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            sync_dir(&self.dir)
        };
        write().map_err(|error| {
            // The rename may have been what failed; nothing is lost when this fails too.
            let _ = fs::remove_file(&temporary);
            io_error("write", &path, error)
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

fn default_dir() -> Option<PathBuf> {
    let named = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let base = if cfg!(windows) {
        named("APPDATA")
    } else {
        named("XDG_CONFIG_HOME").or_else(|| named("HOME").map(|home| home.join(".config")))
    };
    base.map(|base| base.join("confab"))
}

#[cfg(unix)]
fn create_private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    if fs::metadata(dir)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn create_private_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

fn private_file() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options
}

#[cfg(unix)]
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(not(unix))]
fn sync_dir(_: &Path) -> io::Result<()> {
    Ok(())
}

fn io_error(doing: &'static str, path: &Path, error: io::Error) -> StoreError {
    StoreError::Io {
        doing,
        path: path.to_owned(),
        error,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn nobody_else_can_read_what_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a/confab");
        let store = Store::open(Some(dir.clone())).unwrap();
        store.write("file", "secret").unwrap();
        assert_eq!(store.read("file").unwrap().as_deref(), Some("secret"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join("file")), 0o600);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_other() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(Some(home.path().join("c"))).unwrap();
        fs::create_dir(store.path("busy")).unwrap();
        assert!(store.write("busy", "new").is_err());
        let names: Vec<_> = fs::read_dir(&store.dir)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["busy"]);
    }

    #[tokio::test]
    async fn a_lock_lets_one_in_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(Some(home.path().join("c"))).unwrap();
        let held = store.lock("x.lock").await.unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(100), store.lock("x.lock")).await;
        assert!(waiting.is_err());
        drop(held);
        store.lock("x.lock").await.unwrap();
    }
}
