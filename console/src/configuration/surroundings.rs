//! What flags are made of.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::secret::text_of;

/// The command line, the environment and the files.
pub struct Surroundings<'a> {
    /// The command line; the first one is the program.
    pub arguments: Vec<OsString>,
    /// A variable of the environment.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The text of a file.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
    /// In place of [`OwnFile::default_folder`](super::OwnFile::default_folder).
    pub own_folder: Option<fn() -> Option<PathBuf>>,
}

impl Surroundings<'static> {
    /// Those of this process.
    pub fn of_process() -> Self {
        Self {
            arguments: std::env::args_os().collect(),
            variable: &|name| std::env::var_os(name),
            read: &|path| text_of(path).map(|text| text.to_string()),
            own_folder: None,
        }
    }
}
