//! Atomic writes of files, and key files that only their owner can read.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use super::TlsError;
use crate::random;

/// Permissions of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readers {
    /// Readable by the owner only (mode 0600).
    Owner,
    /// Readable by all users (mode 0644).
    All,
}

/// Writes to a temporary file beside `path`, then renames it.
pub fn write(path: &Path, content: &[u8], readers: Readers) -> Result<(), TlsError> {
    let suffix = data_encoding::HEXLOWER.encode(&random::bytes::<8>());
    let beside = path.with_extension(format!("new-{suffix}"));
    let written = write_new(&beside, content, readers).and_then(|()| fs::rename(&beside, path));
    written.map_err(|source| {
        let _ = fs::remove_file(&beside);
        file_error(path, source)
    })
}

/// Reads a file; `None` if it does not exist.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, TlsError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(file_error(path, source)),
    }
}

/// Reads a file that has to be there.
pub fn read_given(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| file_error(path, source))
}

/// Copies a file. Returns an error if a different file exists at `to`.
pub fn copy(from: &Path, to: &Path, readers: Readers) -> Result<(), TlsError> {
    let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
    let content = read(from)?.ok_or_else(|| file_error(from, missing()))?;
    match read(to)? {
        Some(there) if there == content => Ok(()),
        Some(_) => Err(TlsError::Content {
            path: to.to_owned(),
            expected: "what this cluster has",
        }),
        None => write(to, &content, readers),
    }
}

/// Creates the folder. New folders are accessible by their owner only.
pub fn make_folder(path: &Path) -> Result<(), TlsError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(path)
        .map_err(|source| file_error(path, source))
}

/// Reads a key of 32 bytes; creates the file if it is missing.
pub fn key(path: &Path) -> Result<[u8; 32], TlsError> {
    match read(path)? {
        Some(content) => content.try_into().map_err(|_| TlsError::Content {
            path: path.to_owned(),
            expected: "a key of 32 bytes",
        }),
        None => {
            let key = random::bytes();
            write(path, &key, Readers::Owner)?;
            Ok(key)
        }
    }
}

fn write_new(path: &Path, content: &[u8], readers: Readers) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(match readers {
            Readers::Owner => 0o600,
            Readers::All => 0o644,
        });
    }
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn file_error(path: &Path, source: std::io::Error) -> TlsError {
    TlsError::File {
        path: path.to_owned(),
        source,
    }
}
