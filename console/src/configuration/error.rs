//! What is wrong with a file or a variable.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A variable of the environment.
    Variable(String),
    /// A line of the file.
    Line {
        /// The file.
        file: PathBuf,
        /// Its line, from 1 on.
        line: usize,
    },
    /// The command line.
    Typed,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "the variable {name}"),
            Self::Line { file, line } => write!(f, "{}, line {line}", file.display()),
            Self::Typed => f.write_str("the command line"),
        }
    }
}

/// A file or a variable that the program does not take.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The file is not there or is not text.
    #[error("cannot read the configuration {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is no TOML.
    #[error("{place}: this is no TOML: {reason}")]
    Syntax {
        /// Where.
        place: Origin,
        /// What the parser says.
        reason: String,
    },
    /// A key or table that no flag and no command has.
    #[error("{place}: there is no key '{key}'{table}{meant}")]
    UnknownKey {
        /// Where.
        place: Origin,
        /// The key.
        key: String,
        /// In which table, as ` in [serve]`.
        table: String,
        /// The likely one, as `: did you mean 'listen'?`.
        meant: String,
    },
    /// A key that means different things in several commands stands outside of their tables.
    #[error(
        "{place}: '{key}' means different things in {commands}: put it into the table of the command"
    )]
    Ambiguous {
        /// Where.
        place: Origin,
        /// The key.
        key: String,
        /// The tables.
        commands: String,
    },
    /// A value of another type.
    #[error("{place}: '{key}' is {found}: it takes {expected}")]
    Type {
        /// Where.
        place: Origin,
        /// The key.
        key: String,
        /// What it is, as `a number`.
        found: &'static str,
        /// What it should be, with an example.
        expected: String,
    },
    /// A value that the flag does not take.
    #[error("{place}: {value} for '{key}': {reason}")]
    Value {
        /// Where.
        place: Origin,
        /// The value, as `invalid value 'x'`; without that of a secret.
        value: String,
        /// The key.
        key: String,
        /// What it takes.
        reason: String,
    },
    /// The file of a secret is not there or is not text.
    #[error("cannot read {}, which {place} names as '{key}': {source}", path.display())]
    SecretFile {
        /// Where the file is named.
        place: Origin,
        /// The key.
        key: String,
        /// The file.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A secret, and a file that has it.
    #[error("{place} sets '{key}' and '{key}-file': leave one of them out")]
    SecretTwice {
        /// Where.
        place: Origin,
        /// The key.
        key: String,
    },
    /// A value that cannot be written to a file.
    #[error("the value of '{0}' is not UTF-8: a TOML file cannot have it")]
    NotUtf8(String),
}
