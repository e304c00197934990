//! Reads a TOML file and checks all of it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigurationError, Origin};
use super::known::{Kind, Known, Setting};

/// How alike two names are for one to be meant by the other, 0 to 1; as clap has it.
const LIKENESS: f64 = 0.7;

/// What a file sets. All of it has been checked.
#[derive(Debug)]
pub(super) struct File {
    entries: BTreeMap<(Vec<String>, String), Entry>,
}

/// The values of a key.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) values: Vec<OsString>,
    pub(super) origin: Origin,
}

impl File {
    /// Reads `text`, the content of the file `path`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub(super) fn read(known: &Known, path: &Path, text: &str) -> Result<Self, ConfigurationError> {
        let reading = Reading {
            known,
            path: path.to_owned(),
            text,
        };
        let table = DeTable::parse(text).map_err(|error| ConfigurationError::Syntax {
            place: reading.place(&error.span().unwrap_or_default()),
            reason: error.message().to_owned(),
        })?;
        let mut entries = BTreeMap::new();
        reading.table(&[], table.get_ref(), &mut entries)?;
        Ok(Self { entries })
    }

    /// The values of a command's flag: of its own table, or else of `table` or of those above it.
    pub(super) fn get(&self, own: &[String], table: &[String], key: &str) -> Option<&Entry> {
        let in_own = self.entries.get(&(own.to_vec(), key.to_owned()));
        in_own.or_else(|| self.in_table(table, key))
    }

    fn in_table(&self, path: &[String], key: &str) -> Option<&Entry> {
        (0..=path.len())
            .rev()
            .find_map(|depth| self.entries.get(&(path[..depth].to_vec(), key.to_owned())))
    }
}

struct Reading<'a> {
    known: &'a Known,
    path: PathBuf,
    text: &'a str,
}

impl Reading<'_> {
    fn table(
        &self,
        path: &[String],
        table: &DeTable<'_>,
        entries: &mut BTreeMap<(Vec<String>, String), Entry>,
    ) -> Result<(), ConfigurationError> {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let below = [path, &[name.to_owned()]].concat();
            if let DeValue::Table(table) = value.get_ref()
                && self.known.command(&below).is_some()
            {
                self.table(&below, table, entries)?;
                continue;
            }
            let place = self.place(&key.span());
            let setting = self.setting(path, name, &place)?;
            let values = self.values(setting, value)?;
            let entry = Entry {
                values,
                origin: place,
            };
            entries.insert((path.to_vec(), name.to_owned()), entry);
        }
        Ok(())
    }

    /// The flag of a key. One above the tables of several commands has to mean the same in all of them.
    fn setting(
        &self,
        path: &[String],
        key: &str,
        place: &Origin,
    ) -> Result<&Setting, ConfigurationError> {
        let mut all = self.known.below(path, key);
        let Some((_, first)) = all.next() else {
            return Err(self.unknown(path, key, place));
        };
        let is_same = |(_, other): (_, &Setting)| other.variable == first.variable;
        if all.all(is_same) {
            return Ok(first);
        }
        let tables = self.known.below(path, key);
        let tables: Vec<String> = tables
            .map(|(command, _)| format!("[{}]", command.path.join(".")))
            .collect();
        Err(ConfigurationError::Ambiguous {
            place: place.clone(),
            key: key.to_owned(),
            commands: tables.join(", "),
        })
    }

    fn unknown(&self, path: &[String], key: &str, place: &Origin) -> ConfigurationError {
        let table = match path {
            [] => String::new(),
            path => format!(" in [{}]", path.join(".")),
        };
        ConfigurationError::UnknownKey {
            place: place.clone(),
            key: key.to_owned(),
            table,
            meant: self.meant(path, key),
        }
    }

    /// What was meant: another table for the same key, or a key or table of a name that is alike.
    fn meant(&self, path: &[String], key: &str) -> String {
        if self
            .known
            .command(&[path, &[key.to_owned()]].concat())
            .is_some()
        {
            let table = [path, &[key.to_owned()]].concat().join(".");
            return format!(": it is a table, [{table}]");
        }
        if let Some((command, _)) = self.known.below(&[], key).next() {
            let table = command.path.join(".");
            return match table.is_empty() {
                true => ": it belongs above all tables".to_owned(),
                false => format!(": it belongs into [{table}]"),
            };
        }
        let commands = self.known.commands().iter();
        let candidates = commands.filter(|command| command.path.starts_with(path));
        let names = candidates.flat_map(|command| {
            let table = match command.path.len() > path.len() {
                true => command.path.last(),
                false => None,
            };
            let keys = command.settings.iter().map(|setting| &setting.key);
            keys.chain(table)
        });
        let alike = names.map(|name| (strsim::jaro(name, key), name));
        let best = alike
            .filter(|(likeness, _)| *likeness > LIKENESS)
            .max_by(|(a, _), (b, _)| a.total_cmp(b));
        best.map_or_else(String::new, |(_, name)| format!(": did you mean '{name}'?"))
    }

    fn values(
        &self,
        setting: &Setting,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Vec<OsString>, ConfigurationError> {
        let one = |value: &Spanned<DeValue<'_>>| {
            let place = self.place(&value.span());
            let text = text(setting.kind, value.get_ref())
                .ok_or_else(|| self.of_other_type(setting, value))?;
            checked(setting, &text.into(), place)
        };
        match value.get_ref() {
            DeValue::Array(values) if setting.is_list => {
                let values: Result<Vec<_>, _> = values.iter().map(one).collect();
                Ok(values?.concat())
            }
            _ if setting.is_list => Err(self.of_other_type(setting, value)),
            _ => one(value),
        }
    }

    fn of_other_type(&self, setting: &Setting, value: &Spanned<DeValue<'_>>) -> ConfigurationError {
        let key = setting.key.clone();
        let name = setting.value_name();
        let (one, example) = match setting.kind {
            Kind::Switch | Kind::Boolean => ("true or false", "true".to_owned()),
            Kind::Count | Kind::Number => ("a number", name),
            Kind::Text => ("a text in quotes", format!("\"{name}\"")),
        };
        ConfigurationError::Type {
            place: self.place(&value.span()),
            found: match value.get_ref() {
                DeValue::String(_) => "a text",
                DeValue::Integer(_) | DeValue::Float(_) => "a number",
                DeValue::Boolean(_) => "true or false",
                DeValue::Datetime(_) => "a date or time",
                DeValue::Array(_) => "a list",
                DeValue::Table(_) => "a table",
            },
            expected: match setting.is_list {
                true => format!("a list, as {key} = [{example}]"),
                false => format!("{one}, as {key} = {example}"),
            },
            key,
        }
    }

    fn place(&self, span: &Range<usize>) -> Origin {
        let before = self.text.as_bytes().iter().take(span.start);
        Origin::Line {
            file: self.path.clone(),
            line: before.filter(|byte| **byte == b'\n').count() + 1,
        }
    }
}

/// The values of one text, as clap takes them apart.
///
/// # Errors
///
/// The flag does not take it.
pub(super) fn checked(
    setting: &Setting,
    text: &OsString,
    place: Origin,
) -> Result<Vec<OsString>, ConfigurationError> {
    setting.check(text).map_err(|error| {
        let value = match setting.is_secret {
            true => "invalid value".to_owned(),
            false => format!("invalid value '{}'", text.to_string_lossy()),
        };
        ConfigurationError::Value {
            place,
            value,
            key: setting.key.clone(),
            reason: reason(&error),
        }
    })
}

/// What clap says of a value, without its words about the command line.
fn reason(error: &clap::Error) -> String {
    use std::error::Error as _;

    if let Some(source) = error.source() {
        return source.to_string();
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(allowed)) if !allowed.is_empty() => {
            format!("it is one of {}", allowed.join(", "))
        }
        _ => "it needs a value".to_owned(),
    }
}

/// A value as it would be typed; `None` if it is of another type.
fn text(kind: Kind, value: &DeValue<'_>) -> Option<String> {
    match (kind, value) {
        (Kind::Switch | Kind::Boolean, DeValue::Boolean(value)) => Some(value.to_string()),
        (Kind::Count | Kind::Number, DeValue::Integer(number)) => {
            let read = i128::from_str_radix(number.as_str(), number.radix());
            Some(read.map_or_else(|_| number.to_string(), |number| number.to_string()))
        }
        (Kind::Number, DeValue::Float(number)) => Some(number.as_str().to_owned()),
        (Kind::Text, DeValue::String(text)) => Some(text.clone().into_owned()),
        _ => None,
    }
}
