//! What a command reads: a password, a confirmation.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use confab_console::{Class, Form, StandardInput, err};
use zeroize::Zeroizing;

use crate::cluster::nodes::admin::NewPassword;
use crate::domain::as_typed;
use crate::flags::{ConfirmFlags, NewPasswordFlags};
use crate::random;

/// Longest line of standard input that is read, in bytes.
const MAX_LINE: u64 = 64 * 1024;

/// What a command was to read was not there.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("cannot read standard input: {0}")]
    Unreadable(#[from] io::Error),
    #[error("no password on standard input: write it in the first line")]
    NoPassword,
    #[error("there is no terminal to ask at: give --yes if you mean it")]
    NoTerminal,
    #[error("not confirmed: nothing was changed")]
    NotConfirmed,
    #[error("give another address or --remove, not both")]
    AddressAndRemove,
}

/// The password from standard input, or a new one; true if it was made.
pub(super) fn new_password(flags: &NewPasswordFlags) -> Result<(NewPassword, bool), InputError> {
    if !flags.password_stdin {
        return Ok((made_password(), true));
    }
    let line = Zeroizing::new(read_line()?);
    match line.is_empty() {
        true => Err(InputError::NoPassword),
        false => Ok((NewPassword(line), false)),
    }
}

/// A password of 80 random bits, to be read and typed once.
fn made_password() -> NewPassword {
    let bytes = Zeroizing::new(random::bytes::<10>());
    NewPassword(as_typed(bytes.as_slice()))
}

/// Asks at the terminal, unless --yes was given.
pub(super) fn confirm(flags: &ConfirmFlags, question: &str) -> Result<(), InputError> {
    if flags.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(InputError::NoTerminal);
    }
    let question = format!("{question} Type yes and Enter:");
    err().put(Class::Answer, Form::Text, &question);
    match read_line()?.trim() {
        "yes" => Ok(()),
        _ => Err(InputError::NotConfirmed),
    }
}

/// The first line of standard input, without its end.
fn read_line() -> Result<String, io::Error> {
    let mut line = String::new();
    let mut input = StandardInput::by_line().take(MAX_LINE);
    input.read_line(&mut line)?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::password;

    #[test]
    fn a_made_password_is_random_and_strong_enough() {
        let (one, other) = (made_password(), made_password());
        assert_ne!(one, other);
        assert_eq!(one.0.len(), 19);
        let username = "ann".parse().unwrap();
        assert!(password::choose(&one.0, &username, None).is_ok());
    }
}
