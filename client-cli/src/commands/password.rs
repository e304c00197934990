//! Passwords: from a prompt without echo, standard input or the environment, never from an argument.

use std::io::{self, BufRead as _, IsTerminal as _};

use confab_protocol::control::Password;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};
use crate::flags::PasswordFlags;

/// Environment variable of the password.
const VARIABLE: &str = "CONFAB_PASSWORD";

/// Environment variable of the new password of `passwd`.
const NEW_VARIABLE: &str = "CONFAB_NEW_PASSWORD";

/// The password of an account that exists. Its form is for the server to judge.
pub(super) fn current(flags: &PasswordFlags) -> Result<Zeroizing<String>, Failure> {
    get(flags, VARIABLE, "Password: ")
}

/// A password to be set; asked for twice at a prompt.
pub(super) fn chosen(flags: &PasswordFlags) -> Result<Password, Failure> {
    choose(flags, VARIABLE, "Password: ")
}

/// The old password and the new one.
pub(super) fn change(flags: &PasswordFlags) -> Result<(Zeroizing<String>, Password), Failure> {
    let old = get(flags, VARIABLE, "Old password: ")?;
    let new = choose(flags, NEW_VARIABLE, "New password: ")?;
    Ok((old, new))
}

fn choose(flags: &PasswordFlags, variable: &str, question: &str) -> Result<Password, Failure> {
    let text = get(flags, variable, question)?;
    let password: Password = text.parse()?;
    if is_prompted(flags, variable) && *prompt("Again: ")? != *text {
        return Err(Failure::usage("the two passwords differ: try again"));
    }
    Ok(password)
}

fn get(
    flags: &PasswordFlags,
    variable: &str,
    question: &str,
) -> Result<Zeroizing<String>, Failure> {
    if flags.password_stdin {
        return from_stdin();
    }
    match std::env::var(variable) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(_) => prompt(question),
    }
}

fn is_prompted(flags: &PasswordFlags, variable: &str) -> bool {
    !flags.password_stdin && std::env::var_os(variable).is_none()
}

fn from_stdin() -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::new());
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|error| {
        Failure::new(
            Exit::Other,
            "stdin",
            format!("cannot read the password: {error}"),
        )
    })?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    if line.is_empty() {
        return Err(Failure::usage("there was no password on standard input"));
    }
    Ok(line)
}

fn prompt(question: &str) -> Result<Zeroizing<String>, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "no terminal to ask for the password: use --password-stdin or set {VARIABLE}"
        )));
    }
    rpassword::prompt_password(question)
        .map(Zeroizing::new)
        .map_err(|error| {
            // The prompt's line is still open.
            eprintln!();
            match error.kind() {
                io::ErrorKind::Interrupted => {
                    Failure::new(Exit::Interrupted, "interrupted", "interrupted")
                }
                io::ErrorKind::UnexpectedEof => Failure::usage("no password was given"),
                _ => Failure::new(
                    Exit::Other,
                    "terminal",
                    format!("cannot ask for the password: {error}"),
                ),
            }
        })
}
