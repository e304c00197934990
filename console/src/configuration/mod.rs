//! Where flags come from: the command line, or else a variable of the environment, or else a TOML file. In the order of the work:
//!
//! * `program`: what a program says of its flags;
//! * `command`: the flags that every program has;
//! * `known`: flags as keys and variables;
//! * `file`: reads a file, and checks all of it;
//! * `layers`: which value goes before which;
//! * `line`: puts what was not typed onto the command line, for clap to parse all of it at once;
//! * `print`: writes a file;
//! * `secret`: secrets from files.

mod command;
mod error;
mod file;
mod known;
mod layers;
mod line;
mod print;
mod program;
mod secret;
mod surroundings;

use std::io;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

pub use error::{ConfigurationError, Origin};
pub use known::variable;
pub use program::{OwnFile, Program, ProgramFlags, Typed};
pub use secret::{SecretError, is_secret_set, secret};
pub use surroundings::Surroundings;

use file::File;
use known::{CONFIG, Known, PRINT_CONFIG};
use layers::{Layers, OnLine};

/// What the flags ask for.
#[derive(Debug)]
pub enum Resolved<F> {
    /// To run.
    Run(F),
    /// To write this file.
    Print(String),
}

/// Why there are no flags: help was asked for, or something is wrong.
#[derive(Debug, thiserror::Error)]
pub enum FlagsError {
    /// Clap's answer, with a line of where the values are from that were not typed.
    #[error("{error}{note}")]
    Clap {
        /// The answer.
        error: Box<clap::Error>,
        /// The line, or nothing.
        note: String,
    },
    /// The file or the environment.
    #[error("error: {0}\n")]
    Configuration(#[from] ConfigurationError),
}

impl From<clap::Error> for FlagsError {
    fn from(error: clap::Error) -> Self {
        Self::Clap {
            error: Box::new(error),
            note: String::new(),
        }
    }
}

/// The command of a program as its help shows it, with the flags that every program has, and with each flag's variable.
pub fn shown<F: ProgramFlags>() -> Command {
    let program = F::PROGRAM;
    command::shown(command::prepared(F::command(), &program), &program)
}

/// The flags of a program. It reads files, and nothing else of the world but what it is given.
///
/// # Errors
///
/// Help was asked for, the command line is wrong, or the file or a variable is.
pub fn resolve<F: ProgramFlags>(around: &Surroundings<'_>) -> Result<Resolved<F>, FlagsError> {
    let program = F::PROGRAM;
    let command = command::prepared(F::command(), &program);
    let known = Known::read(&command, &program);
    let mut line = line::Line::new(&around.arguments, &known);

    let looking = command::shown(command.clone(), &program).ignore_errors(true);
    let looked = looking.try_get_matches_from(line.arguments())?;
    let (path, matches) = deepest(&looked);
    let settings = known.of_run(&path);
    line.keep_foreign(&settings);
    let typed = OnLine::of(matches, &settings, line.off());

    let plain = command::parsed(command.clone());
    let is_asked = matches.try_get_one::<bool>(PRINT_CONFIG);
    let prints = is_asked.is_ok_and(|asked| asked.copied().unwrap_or_default());
    // A group of commands without one of them answers with its help, whatever is set.
    let is_group = at(&plain, &path).is_some_and(Command::is_subcommand_required_set);
    if is_group && !prints {
        let matches = plain.try_get_matches_from(line.arguments())?;
        return Ok(Resolved::Run(F::from_arg_matches(&matches)?));
    }
    let file = match config_file(&program, &known, matches, around)? {
        Some((path, text)) => Some(File::read(&known, &path, &text)?),
        None => None,
    };
    let mut built = command;
    built.build();
    let layers = Layers {
        program: &program,
        known: &known,
        command: &built,
        around,
        file: file.as_ref(),
    };
    let values = layers.of(&path, &typed)?;
    if prints {
        let line = line.with(&layers, &settings, &values, &typed)?;
        // What is required may be missing, and nothing else may be wrong.
        let parsed = command::relaxed(plain).try_get_matches_from(line);
        parsed.map_err(|error| noted(error, &values))?;
        return Ok(Resolved::Print(print::file(
            &layers, &program, &path, &values,
        )?));
    }
    let line = line.with(&layers, &settings, &values, &typed)?;
    let mut parsed = plain
        .try_get_matches_from(line)
        .map_err(|error| noted(error, &values))?;
    let mut flags =
        F::from_arg_matches_mut(&mut parsed).map_err(|error| error.format(&mut F::command()))?;
    let by_id = settings
        .iter()
        .filter(|setting| typed.ids().any(|id| id == setting.id));
    flags.settle(&Typed(by_id.map(|setting| setting.key.clone()).collect()));
    Ok(Resolved::Run(flags))
}

/// The command that runs, and its matches.
fn deepest(mut matches: &ArgMatches) -> (Vec<String>, &ArgMatches) {
    let mut path = Vec::new();
    while let Some((name, below)) = matches.subcommand() {
        path.push(name.to_owned());
        matches = below;
    }
    (path, matches)
}

fn at<'a>(mut command: &'a Command, path: &[String]) -> Option<&'a Command> {
    for name in path {
        command = command.find_subcommand(name)?;
    }
    Some(command)
}

/// The file that is to be read, with its text.
fn config_file(
    program: &Program,
    known: &Known,
    matches: &ArgMatches,
    around: &Surroundings<'_>,
) -> Result<Option<(PathBuf, String)>, ConfigurationError> {
    let typed = |id: &str| {
        let mut raw = matches.try_get_raw(id).ok().flatten()?;
        let is_typed = matches.value_source(id) == Some(ValueSource::CommandLine);
        raw.next().filter(|_| is_typed).map(PathBuf::from)
    };
    let set = |name: &str| {
        let value = (around.variable)(name);
        value.filter(|value| !value.is_empty()).map(PathBuf::from)
    };
    let read = |path: PathBuf| match (around.read)(&path) {
        Ok(text) => Ok((path, text)),
        Err(source) => Err(ConfigurationError::File { path, source }),
    };
    if let Some(path) = typed(CONFIG).or_else(|| set(&known::own_variable(program, CONFIG))) {
        return read(path).map(Some);
    }
    let Some(own) = &program.own_file else {
        return Ok(None);
    };
    let flag = known.below(&[], own.folder_flag).next();
    let folder = flag.and_then(|(_, flag)| typed(&flag.id).or_else(|| set(&flag.variable)));
    let Some(folder) = folder.or_else(around.own_folder.unwrap_or(own.default_folder)) else {
        return Ok(None);
    };
    match read(folder.join(own.name)) {
        Err(ConfigurationError::File { source, .. })
            if source.kind() == io::ErrorKind::NotFound =>
        {
            Ok(None)
        }
        read => read.map(Some),
    }
}

/// Says where those flags are set that an error names and nobody typed.
fn noted(error: clap::Error, values: &layers::Values) -> FlagsError {
    let text = error.to_string();
    // What excludes what stands above the usage; what requires a flag that is missing stands in it alone.
    let named_in = match error.kind() {
        ErrorKind::ArgumentConflict => text.split("Usage:").next().unwrap_or_default(),
        _ => &text,
    };
    let names = |flag: &str| {
        named_in.match_indices(flag).any(|(at, _)| {
            let behind = named_in[at + flag.len()..].chars().next();
            !behind.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-')
        })
    };
    let named = values
        .iter()
        .filter(|(key, given)| given.origin != Origin::Typed && names(&format!("--{key}")));
    let notes: String = named
        .map(|(key, given)| format!("note: --{key} is set by {}\n", given.origin))
        .collect();
    FlagsError::Clap {
        error: Box::new(error),
        note: match notes.is_empty() {
            true => notes,
            false => format!("\n{notes}"),
        },
    }
}
