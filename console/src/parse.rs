//! Parsing of the command line. Help and errors go through the channels.

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command, Parser};

use crate::channel::{err, out};
use crate::queue::{Class, Form};

/// Parses the arguments of the program. To be called inside [`run`](crate::run).
///
/// # Errors
///
/// The exit code, when the program has to end here: help or the version was requested, or the arguments are wrong. The text
/// has been written then. `unwritten` is the exit code when requested help cannot be written.
pub fn parse<F: Parser>(program: &str, unwritten: u8) -> Result<F, u8> {
    let matches = without_empty_variables(F::command()).try_get_matches();
    let parsed = matches.and_then(|mut matches| {
        let flags = F::from_arg_matches_mut(&mut matches);
        flags.map_err(|error| error.format(&mut F::command()))
    });
    let mut error = match parsed {
        Ok(flags) => return Ok(flags),
        Err(error) => error,
    };
    suggest(&mut error, &F::command());
    let text = error.to_string();
    if error.use_stderr() {
        err().put(Class::Answer, Form::Text, &text);
        return Err(u8::try_from(error.exit_code()).unwrap_or(1));
    }
    out().put(Class::Answer, Form::Text, &text);
    match out().wait() {
        Ok(()) => Err(0),
        Err(error) => {
            let message = format!("{program}: {error}");
            err().put(Class::Answer, Form::Text, &message);
            Err(unwritten)
        }
    }
}

/// Who types `list` may mean `conference list`: commands one level down of that name come before those that look alike.
fn suggest(error: &mut clap::Error, command: &Command) {
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand) else {
        return;
    };
    let meant: Vec<String> = command
        .get_subcommands()
        .filter(|group| group.find_subcommand(typed).is_some())
        .map(|group| format!("{} {typed}", group.get_name()))
        .collect();
    if !meant.is_empty() {
        error.insert(
            ContextKind::SuggestedSubcommand,
            ContextValue::Strings(meant),
        );
    }
}

/// A variable of the environment that is empty is as if it were not there: scripts empty what they cannot take away.
fn without_empty_variables(command: Command) -> Command {
    let is_empty = |arg: &Arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        value.is_some_and(|value| value.is_empty())
    };
    command
        .mut_args(|arg| match is_empty(&arg) {
            true => arg.env(Resettable::Reset),
            false => arg,
        })
        .mut_subcommands(without_empty_variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_of_a_group_is_suggested_where_the_group_was_left_out() {
        let list = || Command::new("list");
        let command = Command::new("confab")
            .subcommand(Command::new("register"))
            .subcommand(Command::new("conference").subcommand(list()))
            .subcommand(Command::new("sessions").subcommand(list()));
        let typed = |word: &str| {
            let mut error = command
                .clone()
                .try_get_matches_from(["confab", word])
                .expect_err("there is no such command");
            suggest(&mut error, &command);
            error.to_string()
        };
        let listed = typed("list");
        assert!(listed.contains("'conference list'"), "{listed}");
        assert!(listed.contains("'sessions list'"), "{listed}");
        assert!(!listed.contains("'register'"), "{listed}");
        assert!(typed("registr").contains("'register'"));
    }
}
