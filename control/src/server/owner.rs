//! Whose a data folder is: the server's id is in it, as in the server's store, so that the keys of one server never meet the
//! store of another, and a store that was lost is not begun anew as if there had been none.

use std::path::{Path, PathBuf};

use super::errors::{ServeError, WrongStore};
use crate::random;
use crate::store::{ServerId, Store};
use crate::tls::TlsError;
use crate::tls::files::{self, Readers};

/// The server's id as 32 hexadecimal digits.
pub(super) const FILE: &str = super::errors::OWNER_FILE;
/// Before the id while the store may not have it yet.
const NEW: &str = "new ";

/// What a data folder says of its server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// It has never been used with a store.
    Unused,
    /// It is about to be.
    New(ServerId),
    /// It has been.
    Known(ServerId),
}

impl Owner {
    /// What the folder says.
    pub(super) fn read(folder: &Path) -> Result<Self, TlsError> {
        let path = folder.join(FILE);
        let Some(content) = files::read(&path)? else {
            return Ok(Self::Unused);
        };
        parse(&content).ok_or(TlsError::Content {
            path,
            expected: "the id of a server",
        })
    }

    /// The same; a folder of nobody gets an id.
    pub(super) fn read_or_create(folder: &Path) -> Result<Self, TlsError> {
        let owner = Self::read(folder)?;
        if owner != Self::Unused {
            return Ok(owner);
        }
        let drawn = Self::New(ServerId(random::bytes()));
        drawn.write(folder)?;
        Ok(drawn)
    }

    /// Puts it into a folder of nobody, or of the same server.
    pub(super) fn copy_to(self, folder: &Path) -> Result<(), TlsError> {
        let there = Self::read(folder)?;
        if there.id().is_some() && there.id() != self.id() {
            return Err(TlsError::Content {
                path: folder.join(FILE),
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
        files::write(&folder.join(FILE), content.as_bytes(), Readers::Owner)
    }

    fn id(self) -> Option<ServerId> {
        match self {
            Self::Unused => None,
            Self::New(id) | Self::Known(id) => Some(id),
        }
    }
}

/// Refuses a folder of a server in use in which one of these files is missing: it would be made anew.
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

/// Refuses a store that is a file and not there, or empty, beside the keys of a server in use: it would be made anew.
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

/// Sees to it that store and folder are of one server; new ones become so.
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
