//! Writes a file: each flag with its help; what is set is set in it, the rest stands there as a comment.

use std::ffi::OsString;

use confab_protocol::control::text as rules;

use super::error::ConfigurationError;
use super::known::{Kind, KnownCommand, Setting};
use super::layers::{Given, Layers, OnLine, Values};
use super::program::Program;

/// Width of a line of help.
const WIDTH: usize = 98;

/// The file of a program. `values` are those of the command that runs, `path`.
///
/// # Errors
///
/// A variable is wrong, or a value cannot be written.
pub(super) fn file(
    layers: &Layers<'_>,
    program: &Program,
    path: &[String],
    values: &Values,
) -> Result<String, ConfigurationError> {
    let mut text = heading(program);
    for command in layers.known.commands() {
        if command.settings.is_empty() {
            continue;
        }
        let of = match command.path == path {
            true => values.clone(),
            false => {
                let mut of = layers.of(&command.path, &OnLine::default())?;
                let global = command.settings.iter().filter(|setting| setting.is_global);
                for setting in global.filter(|_| path.starts_with(&command.path)) {
                    if let Some(given) = values.get(&setting.key) {
                        of.insert(setting.key.clone(), given.clone());
                    }
                }
                of
            }
        };
        table(&mut text, command, &of)?;
    }
    Ok(text)
}

fn heading(program: &Program) -> String {
    let mut text = String::new();
    let name = program.name;
    comment(
        &mut text,
        &format!(
            "Flags of {name}, to be read with --config FILE. A flag that is typed goes before the environment, and that before \
             this file. What is commented out is not set, and has its default. A key above the tables holds for every command \
             that has the flag, one in a table for that command."
        ),
    );
    text
}

fn table(
    text: &mut String,
    command: &KnownCommand,
    values: &Values,
) -> Result<(), ConfigurationError> {
    if !command.path.is_empty() {
        text.push_str("\n\n");
        comment(text, &command.about);
        text.push_str(&format!("[{}]\n", command.path.join(".")));
    }
    for setting in &command.settings {
        text.push('\n');
        describe(text, setting);
        match values.get(&setting.key) {
            Some(given) if setting.is_secret => {
                comment(
                    text,
                    &format!("It is set by {}, and not written here.", given.origin),
                );
                text.push_str(&unset(setting)?);
            }
            Some(given) => text.push_str(&set(setting, given)?),
            None => text.push_str(&unset(setting)?),
        }
    }
    Ok(())
}

fn describe(text: &mut String, setting: &Setting) {
    let arg = &setting.arg;
    if let Some(help) = arg.get_long_help().or(arg.get_help()) {
        comment(text, &help.to_string());
    }
    if setting.kind == Kind::Text {
        for value in arg.get_possible_values() {
            let help = value.get_help().map(ToString::to_string);
            let help = help.map_or_else(String::new, |help| format!(": {help}"));
            comment(text, &format!("- {}{help}", value.get_name()));
        }
    }
    comment(text, &format!("Variable: {}", setting.variable));
}

fn set(setting: &Setting, given: &Given) -> Result<String, ConfigurationError> {
    let values: Result<Vec<_>, _> = given
        .values
        .iter()
        .map(|value| written(setting, value))
        .collect();
    Ok(line(setting, &values?))
}

/// The default, or else what a value looks like.
fn unset(setting: &Setting) -> Result<String, ConfigurationError> {
    let defaults = setting.arg.get_default_values().iter();
    let defaults: Result<Vec<_>, _> = defaults
        .map(|value| written(setting, &value.into()))
        .collect();
    let mut values = defaults?;
    if values.is_empty() || setting.kind == Kind::Count {
        values = vec![match setting.kind {
            Kind::Switch => "false".to_owned(),
            Kind::Boolean => "true|false".to_owned(),
            Kind::Count => "0".to_owned(),
            Kind::Number => setting.value_name(),
            Kind::Text => quoted(&setting.value_name()),
        }];
    }
    Ok(format!("#{}", line(setting, &values)))
}

fn line(setting: &Setting, values: &[String]) -> String {
    let values = values.join(", ");
    match setting.is_list {
        true => format!("{} = [{values}]\n", setting.key),
        false => format!("{} = {values}\n", setting.key),
    }
}

/// A value as TOML has it.
fn written(setting: &Setting, value: &OsString) -> Result<String, ConfigurationError> {
    let text = value.to_str();
    let text = text.ok_or_else(|| ConfigurationError::NotUtf8(setting.key.clone()))?;
    Ok(match setting.kind {
        Kind::Switch | Kind::Boolean => {
            let is_true = ["true", "on", "yes", "1", "y", "t"].contains(&&*text.to_lowercase());
            is_true.to_string()
        }
        Kind::Count | Kind::Number => number(text),
        Kind::Text => quoted(text),
    })
}

/// A number as TOML has it, which knows no zeros in front and no point at the end.
fn number(text: &str) -> String {
    let whole = text.parse::<i128>().map(|number| number.to_string());
    let float = || {
        text.parse::<f64>()
            .map(|number| format!("{number:?}").to_lowercase())
    };
    whole.or_else(|_| float()).unwrap_or_else(|_| quoted(text))
}

/// A basic string of TOML. A terminal shows all of it, and what escapes output changes nothing in it.
fn quoted(text: &str) -> String {
    let is_plain = rules::escaped(text) == text;
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() || !(is_plain || c.is_ascii()) => {
                quoted.push_str(&format!("\\U{:08X}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Appends a comment, a line of it not much longer than [`WIDTH`].
fn comment(text: &mut String, words: &str) {
    for paragraph in words.lines().filter(|line| !line.trim().is_empty()) {
        let mut line = String::from("#");
        for word in paragraph.split_whitespace() {
            if line.len() > 1 && line.chars().count() + word.chars().count() >= WIDTH {
                text.push_str(&line);
                text.push('\n');
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        text.push_str(&line);
        text.push('\n');
    }
}
