//! Passwords: from a prompt without echo, standard input or the environment, never from an argument.

use std::io::{self, BufRead as _, IsTerminal as _};

use confab_protocol::control::{Password, text};
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};
use crate::flags::PasswordFlags;
use crate::output;

/// Environment variable of the password.
const VARIABLE: &str = "CONFAB_PASSWORD";

/// Environment variable of the new password of `passwd`.
const NEW_VARIABLE: &str = "CONFAB_NEW_PASSWORD";

/// The environment variables that spare the question for an account's password.
pub(super) const CURRENT: &[&str] = &[VARIABLE];

/// The same for the old password and the new one.
pub(super) const CHANGE: &[&str] = &[VARIABLE, NEW_VARIABLE];

/// True when somebody is asked for a password, or a program that may take its time, because one of `variables` is not set.
pub(super) fn is_waited_for(flags: &PasswordFlags, variables: &[&str]) -> bool {
    let is_missing = |variable: &&str| std::env::var_os(variable).is_none();
    flags.password_stdin || variables.iter().any(is_missing)
}

/// The password of an account that exists. Its length is for the server to judge.
pub(super) fn current(flags: &PasswordFlags) -> Result<Zeroizing<String>, Failure> {
    prepared(&get(flags, VARIABLE, "Password: ")?)
}

/// A password to be set; asked for twice at a prompt.
pub(super) fn chosen(flags: &PasswordFlags) -> Result<Password, Failure> {
    choose(flags, VARIABLE, "Password: ")
}

/// The old password and the new one.
pub(super) fn change(flags: &PasswordFlags) -> Result<(Zeroizing<String>, Password), Failure> {
    let old = prepared(&get(flags, VARIABLE, "Old password: ")?)?;
    let new = choose(flags, NEW_VARIABLE, "New password: ")?;
    Ok((old, new))
}

fn choose(flags: &PasswordFlags, variable: &str, question: &str) -> Result<Password, Failure> {
    let text = get(flags, variable, question)?;
    let password: Password = text.parse()?;
    if is_prompted(flags, variable) && prompt("Again: ")?.parse() != Ok(password.clone()) {
        return Err(Failure::usage("the two passwords differ: try again"));
    }
    Ok(password)
}

/// The form in which every client sends a password, however it was typed.
fn prepared(typed: &str) -> Result<Zeroizing<String>, Failure> {
    text::opaque(typed).map_err(|reason| {
        let message = format!("the password is wrong: no password holds {reason}");
        Failure::new(Exit::Auth, "bad_credentials", message)
    })
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
            output::say_to_person("");
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
