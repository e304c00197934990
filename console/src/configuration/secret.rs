//! Secrets from files.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Longest file.
const MAX_FILE: u64 = 1 << 20;

/// A secret that is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file is not there, or is not text.
    #[error("cannot read {}, which {variable} names: {source}", path.display())]
    File {
        /// The variable.
        variable: String,
        /// The file.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The value and a file.
    #[error("{0} and {0}_FILE are set: unset one of them")]
    Twice(String),
    /// The value is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUtf8(String),
}

/// The secret in the variable `name`, or in the file that the variable `name` with `_FILE` behind it names. `None` if neither is
/// set. It may block, as a file may.
///
/// # Errors
///
/// The file cannot be read, or both variables are set.
pub fn secret(name: &str) -> Result<Option<Zeroizing<String>>, SecretError> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let file = format!("{name}_FILE");
    match (set(name), set(&file)) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(SecretError::Twice(name.to_owned())),
        (Some(value), None) => {
            let value = value.into_string();
            let value = value.map_err(|_| SecretError::NotUtf8(name.to_owned()))?;
            Ok(Some(Zeroizing::new(value)))
        }
        (None, Some(path)) => {
            let path = PathBuf::from(path);
            let text = text_of(&path).map_err(|source| SecretError::File {
                variable: file,
                path,
                source,
            })?;
            Ok(Some(Zeroizing::new(without_line_break(&text).to_owned())))
        }
    }
}

/// True if [`secret`] would have one.
pub fn is_secret_set(name: &str) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    is_set(name) || is_set(&format!("{name}_FILE"))
}

/// The text of a file.
///
/// # Errors
///
/// It cannot be read, is longer than 1 MiB, or is not UTF-8.
pub(super) fn text_of(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let file = std::fs::File::open(path)?;
    let read = file.take(MAX_FILE + 1).read_to_string(&mut text)?;
    match read as u64 > MAX_FILE {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(text),
    }
}

/// The content of a secret's file as a value.
pub(super) fn value_of(text: &str) -> OsString {
    without_line_break(text).into()
}

fn without_line_break(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}
