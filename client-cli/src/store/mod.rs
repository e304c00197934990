//! The client's files between two runs, in one directory that only its user can read.
//!
//! * [`sessions`]: the tokens, rotated under a lock; `cookies`: which servers know this device; `hexadecimal`: both as text;
//! * [`known_servers`]: how each server was trusted;
//! * [`device_keys`]: the keys of this device; [`known_devices`]: the devices of others;
//! * [`settings`]: what the person has chosen for all calls;
//! * `disk`: the thread that accesses the files.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_console::file_remedy;
use disk::Disk;
use zeroize::Zeroizing;

mod cookies;
pub mod device_keys;
mod disk;
mod hexadecimal;
pub mod known_devices;
pub mod known_servers;
pub mod sessions;
pub mod settings;
#[cfg(test)]
mod testing;

/// How long to wait for another process that holds a lock.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(20);

/// Time limit of [`Store::flush`].
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Time between two tries to take a lock.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Maximum size of a file in bytes. This program writes none that is larger.
const MAX_FILE: u64 = 16 << 20;

/// Why a file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Neither a flag nor the environment names a directory.
    #[error("no home directory: say where to keep the session with --config-dir")]
    NoHome,
    /// The operating system refused.
    #[error(
        "cannot {doing} {path}: {error}; {}, or choose another place with --config-dir",
        file_remedy(error).unwrap_or("look what is there")
    )]
    Io {
        doing: &'static str,
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The file was changed by hand, or by a later version.
    #[error("{path} is damaged ({reason}): delete it and log in again")]
    Damaged {
        path: PathBuf,
        /// Why the content is refused.
        reason: String,
    },
    /// The entry of a server cannot be parsed.
    #[error(
        "the line of {server} in {path} is damaged: ask the server's operator what `confab-control fingerprint` prints \
         there, and give that with --fingerprint; the line is written anew then"
    )]
    BadEntry { path: PathBuf, server: String },
    /// The file of this device's keys is damaged.
    #[error(
        "line {line} of {path}, which holds the keys of this device, is damaged: restore the file from a copy; without one, \
         move it away: then this device gets new keys, and all who know it are told that you are on a new device"
    )]
    DamagedKeys { path: PathBuf, line: usize },
    /// The file of known devices is damaged.
    #[error(
        "line {line} of {path}, which holds the devices of people whom you know, is damaged: restore the file from a copy or \
         mend the line; without the file everybody is seen for the first time again, and nobody who has taken an account \
         is noticed"
    )]
    DamagedPins { path: PathBuf, line: usize },
    /// The file of choices is damaged.
    #[error(
        "{path} is damaged ({reason}): mend it, or delete it; until then no devices and volumes are remembered"
    )]
    DamagedSettings {
        path: PathBuf,
        /// Why the content is refused.
        reason: String,
    },
    /// Another process holds the lock for too long.
    #[error("another confab process has held {path} for {} s: end it and try again", patience.as_secs())]
    Locked {
        path: PathBuf,
        /// How long this process has waited.
        patience: Duration,
    },
    /// The disk or the network file system hangs.
    #[error("cannot use {path}: no answer for {} s; check its disk or network, or choose another place with --config-dir", disk::PATIENCE.as_secs())]
    Stalled {
        /// The file or directory.
        path: PathBuf,
    },
}

/// The directory; it exists and has mode 0700.
#[derive(Debug, Clone)]
pub struct Store {
    dir: Arc<Path>,
    disk: Disk,
}

/// A lock on a kind of file, held until dropped.
#[derive(Debug)]
pub struct Lock {
    file: Option<File>,
    disk: Disk,
}

impl Store {
    /// Opens `dir`, or `$XDG_CONFIG_HOME/confab`, or the platform's own place for it; creates it when it is not there.
    pub async fn open(dir: Option<PathBuf>) -> Result<Self, StoreError> {
        let dir: Arc<Path> = dir.or_else(default_dir).ok_or(StoreError::NoHome)?.into();
        let disk = Disk::start(disk::PATIENCE).map_err(|error| io_error("open", &dir, error))?;
        let of = dir.clone();
        let create =
            move || create_private_dir(&of).map_err(|error| io_error("create", &of, error));
        disk.run(&dir, create).await?;
        Ok(Self { dir, disk })
    }

    /// Takes the lock called `name`, waiting for other processes for so long.
    pub async fn lock(&self, name: &str, patience: Duration) -> Result<Lock, StoreError> {
        let path = self.dir.join(name);
        let deadline = Instant::now() + patience;
        loop {
            let (of, disk) = (path.clone(), self.disk.clone());
            if let Some(lock) = self.disk.run(&path, move || try_lock(&of, disk)).await? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                return Err(StoreError::Locked { path, patience });
            }
            tokio::time::sleep(LOCK_RETRY).await;
        }
    }

    /// Waits up to one second until all queued writes are done.
    pub async fn flush(&self) {
        // At the end of the program there is nothing left to do about an error.
        let flushing = self.disk.run(&self.dir, || Ok(()));
        let _ = tokio::time::timeout(FLUSH_TIMEOUT, flushing).await;
    }

    /// The whole of a file; `None` when there is none.
    async fn read(&self, name: &str) -> Result<Option<String>, StoreError> {
        let path = self.dir.join(name);
        let of = path.clone();
        let read = move || match read_text(&of) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", &of, error)),
        };
        self.disk.run(&path, read).await
    }

    /// Replaces a file in one step: a reader finds the old content or the new, and after a power cut too.
    async fn write(&self, name: &str, text: Zeroizing<String>) -> Result<(), StoreError> {
        let path = self.dir.join(name);
        let temporary = self.dir.join(format!(".{name}.{}", std::process::id()));
        let (dir, of) = (self.dir.clone(), path.clone());
        let write = move || {
            replace(&dir, &of, &temporary, &text).map_err(|error| {
                // The rename may have been what failed; nothing is lost when this fails too.
                let _ = fs::remove_file(&temporary);
                io_error("write", &of, error)
            })
        };
        self.disk.run(&path, write).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let file = self.file.take();
        // Closing a file may block, too.
        self.disk.later(move || drop(file));
    }
}

/// Takes a lock, unless another process has it.
fn try_lock(path: &Path, disk: Disk) -> Result<Option<Lock>, StoreError> {
    let file = private_file()
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| io_error("open", path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock {
            file: Some(file),
            disk,
        })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(io_error("lock", path, error)),
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_string(&mut text)?;
    if length as u64 > MAX_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

fn replace(dir: &Path, path: &Path, temporary: &Path, text: &str) -> io::Result<()> {
    let mut file = private_file().create(true).truncate(true).open(temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(temporary, path)?;
    sync_dir(dir)
}

/// The config directory, if none is named.
pub(crate) fn default_dir() -> Option<PathBuf> {
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

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A store in a folder of the test.
    async fn store(home: &tempfile::TempDir) -> Store {
        Store::open(Some(home.path().join("c"))).await.unwrap()
    }

    fn text(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[tokio::test]
    async fn files_of_the_store_are_readable_by_their_user_only() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a/confab");
        let store = Store::open(Some(dir.clone())).await.unwrap();
        store.write("file", text("secret")).await.unwrap();
        assert_eq!(store.read("file").await.unwrap().as_deref(), Some("secret"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join("file")), 0o600);
    }

    #[tokio::test]
    async fn a_failed_write_leaves_the_old_file_and_no_other() {
        let home = tempfile::tempdir().unwrap();
        let store = store(&home).await;
        fs::create_dir(store.path("busy")).unwrap();
        assert!(store.write("busy", text("new")).await.is_err());
        let names: Vec<_> = fs::read_dir(&store.dir)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["busy"]);
    }

    #[tokio::test]
    async fn a_lock_lets_one_in_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let store = store(&home).await;
        let held = store.lock("x.lock", LOCK_TIMEOUT).await.unwrap();
        let locking = store.lock("x.lock", LOCK_TIMEOUT);
        let waiting = tokio::time::timeout(Duration::from_millis(100), locking).await;
        assert!(waiting.is_err());
        drop(held);
        store.lock("x.lock", LOCK_TIMEOUT).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_without_an_end_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let store = store(&home).await;
        std::os::unix::fs::symlink("/dev/zero", store.path("file")).unwrap();
        assert!(store.read("file").await.is_err());
    }
}
