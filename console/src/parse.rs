//! Parsing of the command line. Help and errors go through the channels.

use clap::Parser;

use crate::channel::{err, out};
use crate::queue::{Class, Form};

/// Parses the arguments of the program. To be called inside [`run`](crate::run).
///
/// # Errors
///
/// The exit code, when the program has to end here: help or the version was requested, or the arguments are wrong. The text
/// has been written then. `unwritten` is the exit code when requested help cannot be written.
pub fn parse<F: Parser>(program: &str, unwritten: u8) -> Result<F, u8> {
    let error = match F::try_parse() {
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
