//! Parsing of the command line. Help and errors go through the channels.

use clap::builder::Resettable;
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
    let error = match parsed {
        Ok(flags) => return Ok(flags),
        Err(error) => error,
    };
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
