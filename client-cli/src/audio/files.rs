//! Identity of files, and opening of outputs without the loss of an existing file.
//!
//! All functions may block on a disk or on the other end of a pipe. They must run on a thread without other work.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// Identity of a file: device and inode. Equal for all names of a file, such as hard links and symbolic links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileId(Inner);

#[cfg(unix)]
type Inner = (u64, u64);
#[cfg(not(unix))]
type Inner = std::path::PathBuf;

/// Why an output was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file exists and must not be replaced.
    #[error("the file exists")]
    Exists,
    /// The call reads or writes the file otherwise.
    #[error("the file is in use")]
    InUse,
    /// A system call failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl FileId {
    /// Identity of the regular file or named pipe at `path`, symbolic links followed. `None` for everything else: devices,
    /// folders, and paths that do not exist.
    pub fn of_path(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(Self::of(&metadata, path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    #[cfg(unix)]
    fn of(metadata: &Metadata, _: &Path) -> Option<Self> {
        use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
        let kind = metadata.file_type();
        (kind.is_file() || kind.is_fifo()).then(|| Self((metadata.dev(), metadata.ino())))
    }

    #[cfg(not(unix))]
    fn of(metadata: &Metadata, path: &Path) -> Option<Self> {
        let path = std::fs::canonicalize(path).ok()?;
        metadata.is_file().then_some(Self(path))
    }
}

#[cfg(unix)]
impl FileId {
    /// Identity of the regular file or pipe behind a descriptor. `None` for everything else, such as terminals.
    pub fn of_descriptor(descriptor: std::os::fd::BorrowedFd<'_>) -> Option<Self> {
        use rustix::fs::FileType;
        let stat = rustix::fs::fstat(descriptor).ok()?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        matches!(kind, FileType::RegularFile | FileType::Fifo)
            .then_some(Self((stat.st_dev, stat.st_ino)))
    }
}

/// Opens an output. Creates a file that does not exist. Empties an existing file if `overwrite` is set. Opens a named pipe or a
/// device as it is. Files in `taken` are refused.
///
/// An existing file is emptied only after it was opened and its identity checked, so a path that changes meanwhile does no
/// harm.
pub fn open_output(path: &Path, overwrite: bool, taken: &[FileId]) -> Result<File, OpenError> {
    let there = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return create_new(path);
        }
        Err(error) => return Err(error.into()),
    };
    if there.is_file() && !overwrite {
        return Err(OpenError::Exists);
    }
    let file = OpenOptions::new().write(true).open(path)?;
    let opened = file.metadata()?;
    if FileId::of(&opened, path).is_some_and(|id| taken.contains(&id)) {
        return Err(OpenError::InUse);
    }
    if opened.is_file() {
        if !overwrite {
            return Err(OpenError::Exists);
        }
        file.set_len(0)?;
    }
    Ok(file)
}

/// Creates a file that does not exist.
pub fn create_new(path: &Path) -> Result<File, OpenError> {
    let created = OpenOptions::new().write(true).create_new(true).open(path);
    created.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => OpenError::Exists,
        _ => error.into(),
    })
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::fs;

    fn id(path: &Path) -> FileId {
        FileId::of_path(path).unwrap().unwrap()
    }

    #[test]
    fn all_names_of_a_file_have_one_identity() {
        let dir = tempfile::tempdir().unwrap();
        let [file, hard, soft, other] = ["a", "b", "c", "d"].map(|name| dir.path().join(name));
        fs::write(&file, "x").unwrap();
        fs::write(&other, "x").unwrap();
        fs::hard_link(&file, &hard).unwrap();
        std::os::unix::fs::symlink(&file, &soft).unwrap();
        assert_eq!(id(&file), id(&hard));
        assert_eq!(id(&file), id(&soft));
        assert_ne!(id(&file), id(&other));
        assert_eq!(FileId::of_path(&dir.path().join("e")).unwrap(), None);
        assert_eq!(FileId::of_path(Path::new("/dev/null")).unwrap(), None);
    }

    #[test]
    fn an_existing_file_is_kept_unless_overwrite_is_set_and_the_file_is_not_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let [file, link] = ["a", "b"].map(|name| dir.path().join(name));
        fs::write(&file, "precious").unwrap();
        fs::hard_link(&file, &link).unwrap();
        let kept = || fs::read(&file).unwrap() == b"precious";
        assert!(matches!(
            open_output(&file, false, &[]),
            Err(OpenError::Exists)
        ));
        assert!(matches!(create_new(&link), Err(OpenError::Exists)));
        let taken = [id(&file)];
        assert!(matches!(
            open_output(&link, true, &taken),
            Err(OpenError::InUse)
        ));
        assert!(kept());
        open_output(&link, true, &[]).unwrap();
        assert!(!kept());
        open_output(&dir.path().join("new"), false, &[]).unwrap();
        open_output(Path::new("/dev/null"), false, &[]).unwrap();
    }
}
