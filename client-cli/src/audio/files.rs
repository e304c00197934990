//! Identity of files, and opening of outputs without the loss of an existing file.
//!
//! An output is opened and checked before the join, and changed only when the recording begins. [`Unused::discard`] and
//! [`Folder::discard`] undo the opening if nothing is recorded.
//!
//! All functions may block on a disk or on the other end of a pipe. They must run on a thread without other work.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

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
    fn of(metadata: &Metadata, path: &Path) -> Option<Self> {
        use std::os::unix::fs::FileTypeExt as _;
        let kind = metadata.file_type();
        (kind.is_file() || kind.is_fifo()).then(|| Self::of_any_kind(metadata, path))?
    }

    #[cfg(not(unix))]
    fn of(metadata: &Metadata, path: &Path) -> Option<Self> {
        metadata
            .is_file()
            .then(|| Self::of_any_kind(metadata, path))?
    }

    #[cfg(unix)]
    fn of_any_kind(metadata: &Metadata, _: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        Some(Self((metadata.dev(), metadata.ino())))
    }

    #[cfg(not(unix))]
    fn of_any_kind(_: &Metadata, path: &Path) -> Option<Self> {
        std::fs::canonicalize(path).ok().map(Self)
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

/// An output that is open and unchanged.
#[derive(Debug)]
pub struct Unused {
    file: File,
    path: PathBuf,
    before: Before,
}

/// The file that the path led to before the output was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    File,
    PipeOrDevice,
}

/// A folder that exists.
#[derive(Debug)]
pub struct Folder {
    /// The folders that [`create_folder`] created, each inside the one before.
    created: Vec<(PathBuf, FileId)>,
}

impl Unused {
    /// True for a file. False for a named pipe or a device.
    pub fn is_file(&self) -> bool {
        self.before != Before::PipeOrDevice
    }

    /// Empties a file that is replaced. Returns the output, at its beginning.
    ///
    /// # Errors
    ///
    /// The path of a file that is replaced no longer leads to it: another program has moved it, and it is not emptied. Or a
    /// system call failed.
    pub fn begin(self) -> io::Result<File> {
        if self.before == Before::File {
            if !self.is_at(&std::fs::metadata(&self.path)?)? {
                return Err(io::Error::other(
                    "another program has moved or replaced the file",
                ));
            }
            self.file.set_len(0)?;
        }
        Ok(self.file)
    }

    /// Closes the output. Removes a file that [`open_output`] created, unless its path leads to another file by now or another
    /// program has written to it.
    pub fn discard(self) -> io::Result<()> {
        if self.before != Before::Nothing || self.file.metadata()?.len() > 0 {
            return Ok(());
        }
        match self.is_at(&std::fs::symlink_metadata(&self.path)?)? {
            true => std::fs::remove_file(&self.path),
            false => Ok(()),
        }
    }

    /// True if `metadata`, read at the path, belongs to the open file.
    fn is_at(&self, metadata: &Metadata) -> io::Result<bool> {
        let there = FileId::of(metadata, &self.path);
        Ok(there.is_some() && there == FileId::of(&self.file.metadata()?, &self.path))
    }
}

impl Folder {
    /// Removes the folders that [`create_folder`] created, unless they hold something or their paths lead to other folders by
    /// now.
    pub fn discard(self) -> io::Result<()> {
        for (path, id) in self.created.iter().rev() {
            let metadata = std::fs::symlink_metadata(path)?;
            if FileId::of_any_kind(&metadata, path).as_ref() == Some(id) {
                std::fs::remove_dir(path)?;
            }
        }
        Ok(())
    }
}

/// Opens an output. Creates a file that does not exist. Opens an existing file without changing it if `overwrite` is set. Opens
/// a named pipe or a device as it is. Files in `taken` are refused.
pub fn open_output(path: &Path, overwrite: bool, taken: &[FileId]) -> Result<Unused, OpenError> {
    let unused = |file, before| Unused {
        file,
        path: path.to_owned(),
        before,
    };
    let there = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(unused(create_new(path)?, Before::Nothing));
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
    match opened.is_file() {
        true if !overwrite => Err(OpenError::Exists),
        true => Ok(unused(file, Before::File)),
        false => Ok(unused(file, Before::PipeOrDevice)),
    }
}

/// Creates a folder, and the folders above it that do not exist.
pub fn create_folder(path: &Path) -> io::Result<Folder> {
    // Without `.` components, which `mkdir` refuses at the end of a path.
    let path: PathBuf = path.components().collect();
    let missing = path
        .ancestors()
        .take_while(|folder| !folder.as_os_str().is_empty() && !folder.is_dir());
    let missing: Vec<&Path> = missing.collect();
    let mut folder = Folder {
        created: Vec::new(),
    };
    for path in missing.into_iter().rev() {
        match std::fs::create_dir(path) {
            Ok(()) => {
                let metadata = std::fs::symlink_metadata(path)?;
                let id = FileId::of_any_kind(&metadata, path);
                folder.created.extend(id.map(|id| (path.to_owned(), id)));
            }
            // Another program was faster.
            Err(_) if path.is_dir() => {}
            Err(error) => {
                let _ = folder.discard();
                return Err(error);
            }
        }
    }
    Ok(folder)
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
        let unused = open_output(&link, true, &[]).unwrap();
        assert!(kept(), "an open output is unchanged");
        unused.discard().unwrap();
        assert!(kept(), "a file that existed before is not removed");
        let unused = open_output(&link, true, &[]).unwrap();
        unused.begin().unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"");
        open_output(&dir.path().join("new"), false, &[]).unwrap();
        let device = open_output(Path::new("/dev/null"), false, &[]).unwrap();
        assert!(!device.is_file());
    }

    #[test]
    fn a_file_that_was_moved_before_the_recording_began_is_not_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let [file, moved] = ["a", "b"].map(|name| dir.path().join(name));
        fs::write(&file, "precious").unwrap();
        let unused = open_output(&file, true, &[]).unwrap();
        fs::rename(&file, &moved).unwrap();
        assert!(unused.begin().is_err());
        let unused = open_output(&moved, true, &[]).unwrap();
        fs::rename(&moved, &file).unwrap();
        fs::write(&moved, "another").unwrap();
        assert!(unused.begin().is_err());
        assert_eq!(fs::read(&file).unwrap(), b"precious");
        assert_eq!(fs::read(&moved).unwrap(), b"another");
    }

    #[test]
    fn a_discarded_file_is_removed_only_if_it_is_the_created_one_and_empty() {
        let dir = tempfile::tempdir().unwrap();
        let [file, other] = ["a", "b"].map(|name| dir.path().join(name));
        let open = || open_output(&file, false, &[]).unwrap();
        open().discard().unwrap();
        assert!(!file.exists());

        let unused = open();
        fs::write(&file, "of another program").unwrap();
        unused.discard().unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"of another program");
        fs::remove_file(&file).unwrap();

        let unused = open();
        fs::rename(&file, &other).unwrap();
        fs::write(&file, "").unwrap();
        unused.discard().unwrap();
        assert!(file.exists() && other.exists());
        fs::remove_file(&file).unwrap();

        let unused = open();
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(&other, &file).unwrap();
        unused.discard().unwrap();
        assert!(file.is_symlink() && other.exists());
    }

    #[test]
    fn a_discarded_folder_is_removed_with_those_above_that_were_created_and_are_empty() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "a/b"].map(|name| dir.path().join(name));
        create_folder(&b.join(".")).unwrap().discard().unwrap();
        assert!(!a.exists());

        let folder = create_folder(&b).unwrap();
        create_folder(&b).unwrap().discard().unwrap();
        assert!(b.is_dir(), "it existed before");
        fs::write(a.join("c"), "").unwrap();
        assert!(folder.discard().is_err());
        assert!(!b.exists() && a.join("c").exists());
        assert!(create_folder(&a.join("c/d/e")).is_err());
    }
}
