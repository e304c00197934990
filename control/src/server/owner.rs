//! Checks that a data folder and a store belong to one server. Both hold the server's ID, so that the keys of one server are not
//! used with the store of another, and a lost store is not silently created anew.

use std::path::{Path, PathBuf};

use super::errors::{OWNER_FILE, ServeError, WrongStore};
use crate::random;
use crate::store::sqlite;
use crate::store::{ServerId, Store};
use crate::tls::TlsError;
use crate::tls::files::{self, Readers};

/// Prefix of the ID until the store has it.
const NEW: &str = "new ";

/// The server that a data folder belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// The folder has never been used with a store.
    Unused,
    /// The folder has an ID; the store may not have it yet.
    New(ServerId),
    /// Folder and store have the ID.
    Known(ServerId),
}

impl Owner {
    /// Reads the folder's owner.
    pub(super) fn read(folder: &Path) -> Result<Self, TlsError> {
        let path = folder.join(OWNER_FILE);
        let Some(content) = files::read(&path)? else {
            return Ok(Self::Unused);
        };
        parse(&content).ok_or(TlsError::Content {
            path,
            expected: "the id of a server",
        })
    }

    /// As [`read`](Self::read), but gives an unused folder a new ID.
    pub(super) fn read_or_create(folder: &Path) -> Result<Self, TlsError> {
        let owner = Self::read(folder)?;
        if owner != Self::Unused {
            return Ok(owner);
        }
        let drawn = Self::New(ServerId(random::bytes()));
        drawn.write(folder)?;
        Ok(drawn)
    }

    /// Copies the ID into an unused folder, or one of the same server.
    pub(super) fn copy_to(self, folder: &Path) -> Result<(), TlsError> {
        let there = Self::read(folder)?;
        if there.id().is_some() && there.id() != self.id() {
            return Err(TlsError::Content {
                path: folder.join(OWNER_FILE),
                expected: "what this cluster has",
            });
        }
        match there {
            Self::Known(_) => Ok(()),
            Self::Unused | Self::New(_) => self.write(folder),
        }
    }

    fn write(self, folder: &Path) -> Result<(), TlsError> {
        let content = match self {
            Self::Unused => return Ok(()),
            Self::New(id) => format!("{NEW}{id}\n"),
            Self::Known(id) => format!("{id}\n"),
        };
        files::write(&folder.join(OWNER_FILE), content.as_bytes(), Readers::Owner)
    }

    fn id(self) -> Option<ServerId> {
        match self {
            Self::Unused => None,
            Self::New(id) | Self::Known(id) => Some(id),
        }
    }
}

/// Returns an error if the folder is in use and one of these files is missing, since a missing file would be created anew.
pub(super) fn check_keys(
    owner: Owner,
    folder: &Path,
    files: &[&'static str],
) -> Result<(), WrongStore> {
    let is_missing = |name: &&&'static str| !folder.join(name).exists();
    match (owner, files.iter().find(is_missing)) {
        (Owner::Known(_), Some(missing)) => Err(WrongStore::KeyLost {
            folder: folder.to_owned(),
            missing,
        }),
        _ => Ok(()),
    }
}

/// Returns an error if the folder is in use and the SQLite file is missing or empty, since it would be created anew.
pub(super) fn check_file(owner: Owner, folder: &Path, store: &Path) -> Result<(), WrongStore> {
    let is_empty = std::fs::metadata(store).is_ok_and(|file| file.len() == 0) || !store.exists();
    match owner {
        Owner::Known(_) if is_empty => Err(WrongStore::Empty {
            store: store.display().to_string(),
            folder: folder.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// True if the SQLite file belongs to another server than the folder.
pub(super) fn is_of_another(owner: Owner, store: &Path) -> bool {
    let found = match store.exists() {
        true => sqlite::server_of(store).ok().flatten(),
        false => None,
    };
    match (owner, found) {
        (Owner::Known(ours), Some(found)) => ours != found,
        (Owner::Unused, Some(_)) => true,
        _ => false,
    }
}

/// Checks that store and folder belong to one server, and writes the ID into new ones.
pub(super) async fn match_store(
    owner: Owner,
    folder: &Path,
    (store, name): (&dyn Store, String),
) -> Result<(), ServeError> {
    let found = store.server().await?;
    let folder_name = folder.to_owned();
    let wrong = match (owner, found) {
        (Owner::Known(ours), Some(found)) if ours == found => return Ok(()),
        (Owner::Unused, None) | (Owner::New(_), _) => {
            let drawn = Owner::read_or_create(folder)?;
            if let Some(id) = drawn.id()
                && store.claim(id).await? == id
            {
                return Ok(Owner::Known(id).write(folder)?);
            }
            other_server(name, folder_name)
        }
        (Owner::Known(_), None) => WrongStore::Empty {
            store: name,
            folder: folder_name,
        },
        (Owner::Known(_), Some(_)) => other_server(name, folder_name),
        (Owner::Unused, Some(_)) => WrongStore::NoKeys {
            store: name,
            folder: folder_name,
        },
    };
    Err(wrong.into())
}

fn other_server(store: String, folder: PathBuf) -> WrongStore {
    WrongStore::Another { store, folder }
}

fn parse(content: &[u8]) -> Option<Owner> {
    let text = std::str::from_utf8(content).ok()?.trim_end();
    let (is_new, digits) = match text.strip_prefix(NEW) {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let bytes = data_encoding::HEXLOWER.decode(digits.as_bytes()).ok()?;
    let id = ServerId(bytes.try_into().ok()?);
    Some(match is_new {
        true => Owner::New(id),
        false => Owner::Known(id),
    })
}
