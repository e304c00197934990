//! The flags of a program as keys of a file and variables of the environment.

use std::any::TypeId;
use std::ffi::OsString;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};

use clap::builder::{BoolishValueParser, ValueParser};
use clap::{Arg, ArgAction, Command};

use super::program::Program;

/// The flag that names the file.
pub(super) const CONFIG: &str = "config";
/// The flag that writes the file.
pub(super) const PRINT_CONFIG: &str = "print-config";
/// How the flag ends that names a file with the value of a secret one.
pub(super) const SECRET_FILE: &str = "-file";

/// What a value of a flag is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A flag without a value, on or off.
    Switch,
    /// A flag without a value, whose repetitions are counted.
    Count,
    /// True or false.
    Boolean,
    Number,
    Text,
}

/// A flag that a file or the environment may set.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    /// Clap's id.
    pub(super) id: String,
    /// The long name, and the key.
    pub(super) key: String,
    pub(super) variable: String,
    pub(super) kind: Kind,
    /// It takes several values.
    pub(super) is_list: bool,
    /// It is not shown.
    pub(super) is_secret: bool,
    /// Its values stand behind `--`.
    pub(super) is_last: bool,
    /// It holds for the commands below as well.
    pub(super) is_global: bool,
    pub(super) arg: Arg,
}

/// A command with its own flags.
#[derive(Debug)]
pub(super) struct KnownCommand {
    /// Its name, behind those of the commands above it; empty for the program.
    pub(super) path: Vec<String>,
    pub(super) about: String,
    pub(super) settings: Vec<Setting>,
}

/// All commands of a program.
#[derive(Debug)]
pub(super) struct Known(Vec<KnownCommand>);

impl Known {
    pub(super) fn read(command: &Command, program: &Program) -> Self {
        let mut commands = Vec::new();
        read_command(command, program, Vec::new(), &mut commands);
        Self(commands)
    }

    /// All commands, each behind the one above it.
    pub(super) fn commands(&self) -> &[KnownCommand] {
        &self.0
    }

    pub(super) fn command(&self, path: &[String]) -> Option<&KnownCommand> {
        self.0.iter().find(|command| command.path == path)
    }

    /// The flags that may be given to a command: its own, and the global ones above it.
    pub(super) fn of_run(&self, path: &[String]) -> Vec<&Setting> {
        let above = (0..path.len()).filter_map(|depth| self.command(&path[..depth]));
        let global = above.flat_map(|command| &command.settings);
        let own = self.command(path).into_iter();
        let own = own.flat_map(|command| &command.settings);
        global
            .filter(|setting| setting.is_global)
            .chain(own)
            .collect()
    }

    /// The flags of this name that a command or one below it has.
    pub(super) fn below<'known, 'key>(
        &'known self,
        path: &'key [String],
        key: &'key str,
    ) -> impl Iterator<Item = (&'known KnownCommand, &'known Setting)> {
        let commands = self.0.iter();
        let commands = commands.filter(move |command| command.path.starts_with(path));
        commands.flat_map(move |command| {
            let settings = command.settings.iter();
            settings
                .filter(move |setting| setting.key == key)
                .map(move |setting| (command, setting))
        })
    }
}

fn read_command(
    command: &Command,
    program: &Program,
    path: Vec<String>,
    commands: &mut Vec<KnownCommand>,
) {
    let settings = command.get_arguments();
    let settings = settings.filter_map(|arg| Setting::of(arg, program));
    let settings = by_their_secrets(settings.collect());
    let about = command.get_about().map(ToString::to_string);
    commands.push(KnownCommand {
        about: about.unwrap_or_default(),
        settings,
        path: path.clone(),
    });
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
    {
        let path = [&path[..], &[below.get_name().to_owned()]].concat();
        read_command(below, program, path, commands);
    }
}

/// Puts the flags that name files of secrets behind those secrets.
fn by_their_secrets(settings: Vec<Setting>) -> Vec<Setting> {
    let files: Vec<String> = settings.iter().filter_map(Setting::secret_file).collect();
    let (files, others): (Vec<_>, Vec<_>) = settings
        .into_iter()
        .partition(|setting| files.contains(&setting.key));
    let mut ordered = Vec::new();
    for setting in others {
        let file = setting.secret_file();
        ordered.push(setting);
        ordered.extend(
            files
                .iter()
                .filter(|other| file.as_ref() == Some(&other.key))
                .cloned(),
        );
    }
    ordered
}

impl Setting {
    /// `None` for what is typed alone.
    fn of(arg: &Arg, program: &Program) -> Option<Self> {
        let key = key(arg)?;
        if key == CONFIG {
            return None;
        }
        let kind = Kind::of(arg)?;
        let delimited = arg.get_value_delimiter().is_some();
        Some(Self {
            id: arg.get_id().to_string(),
            variable: variable(arg, program)?,
            kind,
            is_list: delimited || matches!(arg.get_action(), ArgAction::Append),
            is_secret: arg.is_hide_env_values_set(),
            is_last: arg.is_last_set(),
            is_global: arg.is_global_set(),
            arg: arg.clone(),
            key,
        })
    }

    /// The key of the flag that names a file with the value of this one.
    pub(super) fn secret_file(&self) -> Option<String> {
        self.is_secret.then(|| format!("{}{SECRET_FILE}", self.key))
    }

    /// What stands for a value in a text for people.
    pub(super) fn value_name(&self) -> String {
        let names = self.arg.get_value_names().unwrap_or_default();
        let name = names.first().map(ToString::to_string);
        name.unwrap_or_else(|| self.key.to_uppercase().replace('-', "_"))
    }

    /// Checks one value as clap does. For a switch and a count it is what a file or a variable says, such as `true` or `2`.
    pub(super) fn check(&self, value: &OsString) -> Result<Vec<OsString>, clap::Error> {
        let parser: ValueParser = match self.kind {
            Kind::Switch => BoolishValueParser::new().into(),
            Kind::Count => clap::value_parser!(u8).into(),
            _ => self.arg.get_value_parser().clone(),
        };
        let mut arg = Arg::new("value")
            .long("value")
            .value_parser(parser)
            .action(ArgAction::Append);
        if let Some(delimiter) = self.arg.get_value_delimiter() {
            arg = arg.value_delimiter(delimiter);
        }
        let mut typed = OsString::from("--value=");
        typed.push(value);
        let matches = Command::new("value")
            .no_binary_name(true)
            .arg(arg)
            .try_get_matches_from([typed])?;
        if self.kind == Kind::Switch {
            let on = matches.get_one::<bool>("value").copied();
            return Ok(vec![on.unwrap_or_default().to_string().into()]);
        }
        let values = matches.get_raw("value").into_iter().flatten();
        Ok(values.map(OsString::from).collect())
    }
}

impl Kind {
    /// `None` if it sets nothing.
    fn of(arg: &Arg) -> Option<Self> {
        match arg.get_action() {
            ArgAction::SetTrue => return Some(Self::Switch),
            ArgAction::Count => return Some(Self::Count),
            ArgAction::Set | ArgAction::Append => {}
            _ => return None,
        }
        let of = arg.get_value_parser().type_id();
        let numbers = [
            TypeId::of::<u8>(),
            TypeId::of::<u16>(),
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<usize>(),
            TypeId::of::<i32>(),
            TypeId::of::<i64>(),
            TypeId::of::<f32>(),
            TypeId::of::<f64>(),
            TypeId::of::<NonZeroU16>(),
            TypeId::of::<NonZeroU32>(),
            TypeId::of::<NonZeroUsize>(),
        ];
        Some(if of == TypeId::of::<bool>() {
            Self::Boolean
        } else if numbers.iter().any(|number| of == *number) {
            Self::Number
        } else {
            Self::Text
        })
    }
}

/// The name of a flag; `None` for an operand.
fn key(arg: &Arg) -> Option<String> {
    let long = arg.get_long().map(str::to_owned);
    long.or_else(|| {
        arg.is_last_set()
            .then(|| arg.get_id().as_str().replace('_', "-"))
    })
}

/// The variable of a flag: the program's name and the flag's, unless the flag has one of its own. `None` for an operand, and
/// for what is typed alone.
pub fn variable(arg: &Arg, program: &Program) -> Option<String> {
    let key = key(arg)?;
    let sets = matches!(
        arg.get_action(),
        ArgAction::Set | ArgAction::Append | ArgAction::SetTrue | ArgAction::Count
    );
    if !sets || key == PRINT_CONFIG || program.is_typed_only(&key) {
        return None;
    }
    let own = arg.get_env().map(|own| own.to_string_lossy().into_owned());
    Some(own.unwrap_or_else(|| own_variable(program, &key)))
}

/// The variable of a program for a flag of this long name.
pub(super) fn own_variable(program: &Program, key: &str) -> String {
    let name = format!("{}-{key}", program.name);
    name.replace('-', "_").to_uppercase()
}
