//! What a program says of its flags.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Parser;

/// A program whose flags come from the command line, the environment and a file.
#[derive(Debug)]
pub struct Program {
    /// Its name; its variables begin with it.
    pub name: &'static str,
    /// Exit code when requested help, or a file, cannot be written.
    pub unwritten: u8,
    /// Long names of flags that neither a file nor the environment sets, each with the reason.
    pub typed_only: &'static [(&'static str, &'static str)],
    /// Commands that take another command's table of the file, unless a key stands in their own.
    pub tables: &'static [(&'static str, &'static str)],
    /// The file that is read without `--config`.
    pub own_file: Option<OwnFile>,
}

/// A file that is read if it is there.
#[derive(Debug)]
pub struct OwnFile {
    /// Its name in the folder.
    pub name: &'static str,
    /// Long name of the flag that names the folder.
    pub folder_flag: &'static str,
    /// The folder without that flag.
    pub default_folder: fn() -> Option<PathBuf>,
}

/// The flags of a program.
pub trait ProgramFlags: Parser {
    /// The program.
    const PROGRAM: Program;

    /// The line of JSON that says that the flags are wrong, for a program that was asked for JSON; `None` if it has none.
    fn wrong_as_json(_message: &str) -> Option<String> {
        None
    }

    /// Settles what depends on whether a value was typed. Called once, after parsing.
    fn settle(&mut self, typed: &Typed) {
        let _ = typed;
    }
}

/// The long names of the flags that stand on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Typed(pub(super) BTreeSet<String>);

impl Typed {
    /// True if the flag of this long name stands on the command line.
    pub fn has(&self, flag: &str) -> bool {
        self.0.contains(flag)
    }
}

impl Program {
    /// The table of the file that a command takes beside its own.
    pub(super) fn table_of(&self, path: &[String]) -> Vec<String> {
        let name = path.first().filter(|_| path.len() == 1);
        let other = self
            .tables
            .iter()
            .find(|(of, _)| Some(*of) == name.map(String::as_str));
        other.map_or_else(|| path.to_vec(), |(_, table)| vec![(*table).to_owned()])
    }

    pub(super) fn is_typed_only(&self, flag: &str) -> bool {
        self.typed_only.iter().any(|(name, _)| *name == flag)
    }
}
