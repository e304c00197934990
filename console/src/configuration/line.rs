//! The command line with what was not typed: clap then checks conflicts and what flags require, as if all of it were typed.

use std::ffi::{OsStr, OsString};

use super::error::ConfigurationError;
use super::known::{Kind, Known, Setting};
use super::layers::{Layers, OnLine, Values};

/// The command line.
pub(super) struct Line {
    /// Without `--SWITCH=true` and `--SWITCH=false`, which clap does not know.
    arguments: Vec<OsString>,
    /// Switches that were turned off, by their long names.
    off: Vec<String>,
}

impl Line {
    pub(super) fn new(arguments: &[OsString], known: &Known) -> Self {
        let all = || {
            known
                .commands()
                .iter()
                .flat_map(|command| &command.settings)
        };
        let is_switch = |name: &str| {
            let mut named = all().filter(|setting| setting.key == name).peekable();
            named.peek().is_some() && named.all(|setting| setting.kind == Kind::Switch)
        };
        let mut line = Self {
            arguments: Vec::new(),
            off: Vec::new(),
        };
        let mut typed = arguments.iter();
        for argument in typed.by_ref() {
            let text = argument.to_str().unwrap_or_default();
            let parts = text
                .strip_prefix("--")
                .and_then(|text| text.split_once('='));
            match parts {
                Some((name, "true")) if is_switch(name) => {
                    line.arguments.push(format!("--{name}").into());
                }
                Some((name, "false")) if is_switch(name) => line.off.push(name.to_owned()),
                _ => line.arguments.push(argument.clone()),
            }
            if text == "--" {
                break;
            }
        }
        line.arguments.extend(typed.cloned());
        line
    }

    pub(super) fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    pub(super) fn off(&self) -> &[String] {
        &self.off
    }

    /// Gives back the switches that the command does not have, for clap to refuse them.
    pub(super) fn keep_foreign(&mut self, settings: &[&Setting]) {
        let is_own = |name: &String| settings.iter().any(|setting| setting.key == *name);
        let foreign = self.off.extract_if(.., |name| !is_own(name));
        let foreign: Vec<OsString> = foreign
            .map(|name| format!("--{name}=false").into())
            .collect();
        insert(&mut self.arguments, foreign);
    }

    /// The command line with the values that were not typed.
    pub(super) fn with(
        &self,
        layers: &Layers<'_>,
        settings: &[&Setting],
        values: &Values,
        typed: &OnLine,
    ) -> Result<Vec<OsString>, ConfigurationError> {
        let mut flags = Vec::new();
        let mut last = Vec::new();
        for setting in settings {
            // The file's flag has done its work once the secret is known.
            let by_file = setting.secret_file().and_then(|file| values.get(&file));
            let given = match by_file {
                Some(file) => Some(layers.read_secret(setting, file)?),
                None => values
                    .get(&setting.key)
                    .filter(|_| !typed.ids().any(|id| id == setting.id))
                    .cloned(),
            };
            let Some(given) = given else { continue };
            let name = || OsString::from(format!("--{}", setting.key));
            let first = given
                .values
                .first()
                .map_or(OsStr::new(""), OsString::as_os_str);
            match setting.kind {
                Kind::Switch if first == "true" => flags.push(name()),
                Kind::Switch => {}
                Kind::Count => {
                    let count = first.to_str().and_then(|count| count.parse().ok());
                    flags.extend((0..count.unwrap_or(0)).map(|_| name()));
                }
                _ if setting.is_last => last.extend(given.values),
                _ => flags.extend(given.values.iter().map(|value| {
                    let mut flag = name();
                    flag.push("=");
                    flag.push(value);
                    flag
                })),
            }
        }
        let mut arguments = self.arguments.clone();
        insert(&mut arguments, flags);
        if !last.is_empty() {
            if !arguments.iter().any(|argument| argument == "--") {
                arguments.push("--".into());
            }
            arguments.extend(last);
        }
        Ok(arguments)
    }
}

/// Puts flags at the end, but before what stands behind `--`.
fn insert(arguments: &mut Vec<OsString>, flags: Vec<OsString>) {
    let end = arguments.iter().position(|argument| argument == "--");
    let end = end.unwrap_or(arguments.len());
    arguments.splice(end..end, flags);
}
