//! What is set for a command: by the environment, or else by the file, as far as nothing was typed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{ArgMatches, Command};

use super::error::{ConfigurationError, Origin};
use super::file::{self, File};
use super::known::{Kind, Known, Setting};
use super::program::Program;
use super::secret;
use super::surroundings::Surroundings;

/// Who goes before whom: the greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    File,
    Environment,
    Typed,
}

/// The values of a flag.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) values: Vec<OsString>,
    pub(super) origin: Origin,
}

/// What is on the command line.
#[derive(Debug, Default)]
pub(super) struct OnLine {
    /// By clap's id.
    values: BTreeMap<String, Vec<OsString>>,
}

/// The values of one command's flags, by key; those of switches and counts are `true`, `false` or a number.
pub(super) type Values = BTreeMap<String, Given>;

/// Where values come from.
pub(super) struct Layers<'a> {
    pub(super) program: &'a Program,
    pub(super) known: &'a Known,
    /// Built, for clap to know which flags conflict.
    pub(super) command: &'a Command,
    pub(super) around: &'a Surroundings<'a>,
    pub(super) file: Option<&'a File>,
}

impl OnLine {
    /// Of the command that runs. `off`: switches that were turned off.
    pub(super) fn of(matches: &ArgMatches, settings: &[&Setting], off: &[String]) -> Self {
        use clap::parser::ValueSource::CommandLine;

        let mut values = BTreeMap::new();
        for setting in settings {
            let id = setting.id.as_str();
            let is_typed = matches.try_contains_id(id).is_ok()
                && matches.value_source(id) == Some(CommandLine);
            let typed = match setting.kind {
                Kind::Switch if off.contains(&setting.key) => vec!["false".into()],
                _ if !is_typed => continue,
                Kind::Switch => vec!["true".into()],
                Kind::Count => vec![matches.get_count(id).to_string().into()],
                _ => {
                    let raw = matches.get_raw(id).into_iter().flatten();
                    raw.map(OsString::from).collect()
                }
            };
            values.insert(setting.id.clone(), typed);
        }
        Self { values }
    }

    /// Clap's ids.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

impl Layers<'_> {
    /// All values of a command, those on the command line among them. A value that conflicts with one that goes before it is
    /// left out, as if it were not set.
    pub(super) fn of(&self, path: &[String], line: &OnLine) -> Result<Values, ConfigurationError> {
        let mut all = Vec::new();
        for setting in self.known.of_run(path) {
            if let Some((level, given)) = self.given(path, setting, line)? {
                all.push((level, setting, given));
            }
        }
        all.sort_by_key(|(level, ..)| std::cmp::Reverse(*level));
        let mut on: Vec<(Level, &Setting)> = Vec::new();
        let mut levels = BTreeMap::new();
        let mut values = Values::new();
        for (level, setting, given) in all {
            let gives_way = on.iter().any(|(before, other)| {
                *before > level && self.conflict(path, &setting.id, &other.id)
            });
            if gives_way {
                continue;
            }
            if !is_off(setting, &given) {
                on.push((level, setting));
            }
            levels.insert(setting.key.clone(), level);
            values.insert(setting.key.clone(), given);
        }
        self.one_secret_of_two(path, &levels, &mut values)?;
        Ok(values)
    }

    /// What a secret's file has.
    pub(super) fn read_secret(
        &self,
        secret: &Setting,
        file: &Given,
    ) -> Result<Given, ConfigurationError> {
        let path = Path::new(
            file.values
                .first()
                .map_or(OsStr::new(""), OsString::as_os_str),
        );
        let failed = |source| ConfigurationError::SecretFile {
            place: file.origin.clone(),
            key: format!("{}-file", secret.key),
            path: path.to_owned(),
            source,
        };
        let text = (self.around.read)(path).map_err(failed)?;
        let value = secret::value_of(&text);
        Ok(Given {
            values: file::checked(secret, &value, file.origin.clone())?,
            origin: file.origin.clone(),
        })
    }

    fn given(
        &self,
        path: &[String],
        setting: &Setting,
        line: &OnLine,
    ) -> Result<Option<(Level, Given)>, ConfigurationError> {
        if let Some(values) = line.values.get(&setting.id) {
            let given = Given {
                values: values.clone(),
                origin: Origin::Typed,
            };
            return Ok(Some((Level::Typed, given)));
        }
        let variable = (self.around.variable)(&setting.variable);
        if let Some(value) = variable.filter(|value| !value.is_empty()) {
            let origin = Origin::Variable(setting.variable.clone());
            let values = file::checked(setting, &value, origin.clone())?;
            return Ok(Some((Level::Environment, Given { values, origin })));
        }
        let table = self.program.table_of(path);
        let entry = self
            .file
            .and_then(|file| file.get(path, &table, &setting.key));
        Ok(entry.map(|entry| {
            let given = Given {
                values: entry.values.clone(),
                origin: entry.origin.clone(),
            };
            (Level::File, given)
        }))
    }

    /// Of a secret and the file that has it the one goes that comes after the other.
    fn one_secret_of_two(
        &self,
        path: &[String],
        levels: &BTreeMap<String, Level>,
        values: &mut Values,
    ) -> Result<(), ConfigurationError> {
        for secret in self.known.of_run(path) {
            let Some(file) = secret.secret_file() else {
                continue;
            };
            let (Some(own), Some(by_file)) = (levels.get(&secret.key), levels.get(&file)) else {
                continue;
            };
            match own.cmp(by_file) {
                std::cmp::Ordering::Greater => values.remove(&file),
                std::cmp::Ordering::Less => values.remove(&secret.key),
                std::cmp::Ordering::Equal => {
                    return Err(ConfigurationError::SecretTwice {
                        place: values[&file].origin.clone(),
                        key: secret.key.clone(),
                    });
                }
            };
        }
        Ok(())
    }

    fn conflict(&self, path: &[String], one: &str, other: &str) -> bool {
        let mut command = self.command;
        for name in path {
            let Some(below) = command.find_subcommand(name) else {
                return false;
            };
            command = below;
        }
        let find = |id: &str| command.get_arguments().find(|arg| arg.get_id() == id);
        let (Some(one), Some(other)) = (find(one), find(other)) else {
            return false;
        };
        let excludes = |one, other: &clap::Arg| {
            let excluded = command.get_arg_conflicts_with(one);
            excluded.iter().any(|arg| arg.get_id() == other.get_id())
        };
        excludes(one, other) || excludes(other, one)
    }
}

/// True for a switch that is off, which excludes nothing.
fn is_off(setting: &Setting, given: &Given) -> bool {
    let is_without_value = matches!(setting.kind, Kind::Switch | Kind::Count);
    is_without_value
        && given
            .values
            .iter()
            .all(|value| value == "false" || value == "0")
}
