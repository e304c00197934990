//! The flags that every program has, and how a command looks to those who ask for help.

use std::path::PathBuf;

use clap::builder::Resettable;
use clap::{Arg, ArgAction, Command};

use super::known::{CONFIG, PRINT_CONFIG, SECRET_FILE, variable};
use super::program::Program;

const HEADING: &str = "Configuration";

/// The command with the flags that every program has, and a flag for the file of each secret.
pub(super) fn prepared(command: Command, program: &Program) -> Command {
    let default = match &program.own_file {
        Some(own) => format!(
            " Default: {} in the folder of --{}, if it is there.",
            own.name, own.folder_flag
        ),
        None => " Default: none.".to_owned(),
    };
    let config = Arg::new(CONFIG)
        .long(CONFIG)
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .global(true)
        .help_heading(HEADING)
        .help(format!(
            "TOML file with flags, as --{PRINT_CONFIG} writes it. A flag that is typed goes before the environment, and that \
             before the file; --FLAG=false turns off what either has turned on.{default}"
        ));
    let print = Arg::new(PRINT_CONFIG)
        .long(PRINT_CONFIG)
        .action(ArgAction::SetTrue)
        .global(true)
        .help_heading(HEADING)
        .help("Write a file for --config to standard output and end: every flag with its help; those that are set now are set in it.");
    with_secret_files(command).arg(config).arg(print)
}

/// The command that clap shows: each flag with its variable, which clap does not read.
pub(super) fn shown(command: Command, program: &Program) -> Command {
    command
        .mut_args(|arg| match variable(&arg, program) {
            Some(variable) => arg.env(variable).hide_env_values(true),
            None => arg.env(Resettable::Reset),
        })
        .mut_subcommands(|below| shown(below, program))
}

/// The command that clap parses: what the environment says is known already.
pub(super) fn parsed(command: Command) -> Command {
    command
        .mut_args(|arg| arg.env(Resettable::Reset))
        .mut_subcommands(parsed)
}

/// The command without what it requires.
pub(super) fn relaxed(command: Command) -> Command {
    command
        .subcommand_required(false)
        .arg_required_else_help(false)
        .mut_args(|arg| arg.required(false))
        .mut_subcommands(relaxed)
}

fn with_secret_files(command: Command) -> Command {
    let secrets = command.get_arguments();
    let secrets = secrets.filter(|arg| arg.is_hide_env_values_set());
    let files: Vec<Arg> = secrets.filter_map(file_of).collect();
    command.args(files).mut_subcommands(with_secret_files)
}

fn file_of(secret: &Arg) -> Option<Arg> {
    let long = secret.get_long()?;
    let file = Arg::new(format!("{}_file", secret.get_id()))
        .long(format!("{long}{SECRET_FILE}"))
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .global(secret.is_global_set())
        .help(format!(
            "File that has the value of --{long}; a line break at its end does not count."
        ));
    Some(file)
}
