//! How a store's file is opened, and why it cannot be.

use std::path::{Path, PathBuf};

use crate::disk::free_space;
use crate::store::StoreError;

/// Free space in bytes below which the disk counts as full: a few transactions.
const MIN_SPACE: u64 = 256 * 1024;

/// A store's file cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Its disk is full.
    #[error("the disk of {} is full: free some space, then start again", .0.display())]
    DiskFull(PathBuf),
    /// A newer program has written it.
    #[error("{} was written by a newer program: start that one", .0.display())]
    Newer(PathBuf),
    #[error("{}: {why}; if it is damaged, restore it from a backup", path.display())]
    Failed { path: PathBuf, why: String },
}

impl OpenError {
    /// An error of the database at the opening of this file. SQLite tells of a full disk by errors of several kinds.
    pub(super) fn of(path: &Path, error: StoreError, has_space: bool) -> Self {
        let path = path.to_owned();
        match error {
            StoreError::Full => Self::DiskFull(path),
            _ if !has_space => Self::DiskFull(path),
            StoreError::Unavailable(why) => Self::Failed { path, why },
            other => Self::Failed {
                path,
                why: other.to_string(),
            },
        }
    }
}

/// True if the disk of this folder has space for some writes, or that cannot be read.
pub fn has_space(folder: &Path) -> bool {
    free_space(folder).is_none_or(|free| free >= MIN_SPACE)
}

/// Creates the file with mode 0600, because it has e-mail addresses. SQLite gives its logs the same mode.
pub(super) fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_however_the_database_says_it() {
        let path = Path::new("data/confab.sqlite");
        let broken = || StoreError::Unavailable("disk I/O error".to_owned());
        let full = "the disk of data/confab.sqlite is full: free some space, then start again";
        for (error, has_space) in [(StoreError::Full, true), (broken(), false)] {
            assert_eq!(OpenError::of(path, error, has_space).to_string(), full);
        }
        let told = OpenError::of(path, broken(), true).to_string();
        assert!(
            told.starts_with("data/confab.sqlite: disk I/O error; "),
            "{told}"
        );
    }
}
