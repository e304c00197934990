//! Parsing of the command line. Help and errors go through the channels.

use clap::Command;
use clap::error::{ContextKind, ContextValue};

use crate::channel::{err, out};
use crate::configuration::{FlagsError, ProgramFlags, Resolved, Surroundings, resolve};
use crate::queue::{Class, Form};

/// Exit code for a file or a variable that is wrong, as clap has it for the command line.
const USAGE: u8 = 2;

/// The flags of the program: of its command line, the environment and its file. To be called inside [`run`](crate::run).
///
/// # Errors
///
/// The exit code, when the program has to end here: help, the version or a file was requested, or something is wrong. The text has
/// been written then.
pub fn parse<F: ProgramFlags>() -> Result<F, u8> {
    match resolve::<F>(&Surroundings::of_process()) {
        Ok(Resolved::Run(flags)) => Ok(flags),
        Ok(Resolved::Print(text)) => Err(write::<F>(&text)),
        Err(FlagsError::Clap { error, .. }) if !error.use_stderr() => {
            Err(write::<F>(&error.to_string()))
        }
        Err(mut error) => {
            let mut exit = USAGE;
            if let FlagsError::Clap { error, .. } = &mut error {
                suggest(error, &F::command());
                exit = u8::try_from(error.exit_code()).unwrap_or(1);
            }
            let said = error.to_string();
            err().put(Class::Answer, Form::Text, &said);
            let message = one_line(&said);
            let is_json = std::env::args_os().any(|argument| argument == "--json");
            if let Some(line) = is_json.then(|| F::wrong_as_json(&message)).flatten() {
                out().put(Class::Answer, Form::Json, &line);
                // Nobody reads it: the exit code says the same.
                let _ = out().wait();
            }
            Err(exit)
        }
    }
}

/// Writes what was asked for, and gives the exit code.
fn write<F: ProgramFlags>(text: &str) -> u8 {
    out().put(Class::Answer, Form::Text, text);
    match out().wait() {
        Ok(()) => 0,
        Err(error) => {
            let message = format!("{}: {error}", F::PROGRAM.name);
            err().put(Class::Answer, Form::Text, &message);
            F::PROGRAM.unwritten
        }
    }
}

/// The first line of an error, and the indented ones below it, which name what it is about.
fn one_line(said: &str) -> String {
    let first = said.strip_prefix("error: ").unwrap_or(said);
    let mut lines = first.lines();
    let mut message = lines.next().unwrap_or_default().to_owned();
    for named in lines.map_while(|line| line.strip_prefix("  ")) {
        message.push(' ');
        message.push_str(named.trim());
    }
    message
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_what_it_names() {
        let said = "error: these are missing:\n  <ROOM>\n  <NAME>\n\nUsage: confab join\n";
        assert_eq!(one_line(said), "these are missing: <ROOM> <NAME>");
        assert_eq!(one_line("a file is wrong\n"), "a file is wrong");
    }

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
