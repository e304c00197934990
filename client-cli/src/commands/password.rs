//! Passwords: from a prompt without echo, standard input, the environment or a file that it names, never from an argument.
//!
//! A thread of its own waits for the input, so that signals work meanwhile.

use std::io::{self, BufRead as _, IsTerminal as _};

use confab_console::StandardInput;
use confab_console::configuration::{is_secret_set, secret};
use confab_protocol::control::{NameError, Password, text};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};
use crate::flags::PasswordFlags;
use crate::net::FixedToken;

/// Environment variable of the password.
const VARIABLE: &str = "CONFAB_PASSWORD";

/// Environment variable of the new password of `passwd`.
const NEW_VARIABLE: &str = "CONFAB_NEW_PASSWORD";

/// The environment variables that spare the question for an account's password.
pub(super) const CURRENT: &[&str] = &[VARIABLE];

/// The same for the old password and the new one.
pub(super) const CHANGE: &[&str] = &[VARIABLE, NEW_VARIABLE];

/// Environment variable of a bot's token.
const TOKEN_VARIABLE: &str = "CONFAB_TOKEN";

/// Maximum length of a line of standard input in bytes.
const MAX_LINE: u64 = 64 * 1024;

/// True when somebody is asked for a password, or a program that may take its time, because one of `variables` is not set.
pub(super) fn needs_input(flags: &PasswordFlags, variables: &[&str]) -> bool {
    flags.password_stdin || !variables.iter().all(|variable| is_secret_set(variable))
}

/// The password of an account that exists. Its length is for the server to judge.
pub(super) async fn current(flags: &PasswordFlags) -> Result<Zeroizing<String>, Failure> {
    prepared(&get(flags, VARIABLE, "Password: ").await?)
}

/// A password to be set; asked for twice at a prompt.
pub(super) async fn chosen(flags: &PasswordFlags) -> Result<Password, Failure> {
    choose(flags, VARIABLE, "Password: ").await
}

/// The old password and the new one.
pub(super) async fn change(
    flags: &PasswordFlags,
) -> Result<(Zeroizing<String>, Password), Failure> {
    let old = prepared(&get(flags, VARIABLE, "Old password: ").await?)?;
    let new = choose(flags, NEW_VARIABLE, "New password: ").await?;
    Ok((old, new))
}

/// True if the program is a bot: it has its token from its environment.
pub(super) fn is_bot() -> bool {
    is_secret_set(TOKEN_VARIABLE)
}

/// The token of a bot; `None` for a person.
pub(super) async fn bot_token() -> Result<Option<FixedToken>, Failure> {
    if !is_bot() {
        return Ok(None);
    }
    let found =
        on_own_thread(|| secret(TOKEN_VARIABLE).map_err(|error| Failure::usage(error.to_string())));
    let Some(text) = found.await? else {
        return Ok(None);
    };
    let token = FixedToken::parse(&text).ok_or_else(|| {
        Failure::usage(format!(
            "{TOKEN_VARIABLE} is no token: it has 80 letters, digits, '-' and '_', as `confab-control users add-bot` prints it"
        ))
    });
    token.map(Some)
}

async fn choose(
    flags: &PasswordFlags,
    variable: &'static str,
    question: &'static str,
) -> Result<Password, Failure> {
    let text = get(flags, variable, question).await?;
    let weak = |error: NameError| Failure::new(Exit::Usage, "weak_password", error.to_string());
    let password: Password = text.parse().map_err(weak)?;
    if is_prompted(flags, variable)
        && prompt(variable, "Again: ").await?.parse() != Ok(password.clone())
    {
        return Err(Failure::usage(
            "the two passwords differ: run the command again",
        ));
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

async fn get(
    flags: &PasswordFlags,
    variable: &'static str,
    question: &'static str,
) -> Result<Zeroizing<String>, Failure> {
    if flags.password_stdin {
        return on_own_thread(from_stdin).await;
    }
    if !is_secret_set(variable) {
        return prompt(variable, question).await;
    }
    // A file may not answer.
    let found =
        on_own_thread(move || secret(variable).map_err(|error| Failure::usage(error.to_string())));
    match found.await? {
        Some(password) => Ok(password),
        None => prompt(variable, question).await,
    }
}

fn is_prompted(flags: &PasswordFlags, variable: &str) -> bool {
    !flags.password_stdin && !is_secret_set(variable)
}

fn from_stdin() -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::new());
    let read = io::Read::take(StandardInput::by_line(), MAX_LINE).read_line(&mut line);
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
        return Err(Failure::usage(
            "no password on standard input: write it in a line of its own (`passwd`: the old one, then the new one)",
        ));
    }
    Ok(line)
}

async fn prompt(
    variable: &'static str,
    question: &'static str,
) -> Result<Zeroizing<String>, Failure> {
    if !io::stdin().is_terminal() {
        let what = match variable == NEW_VARIABLE {
            true => "the new password",
            false => "the password",
        };
        return Err(Failure::usage(format!(
            "no terminal to ask for {what}: use --password-stdin, or set {variable} or {variable}_FILE"
        )));
    }
    let mut terminal = Terminal::new();
    let answer = on_own_thread(move || ask(question)).await;
    terminal.is_open = answer.is_err();
    answer
}

fn ask(question: &str) -> Result<Zeroizing<String>, Failure> {
    rpassword::prompt_password(question)
        .map(Zeroizing::new)
        .map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => {
                Failure::new(Exit::Interrupted, "interrupted", "interrupted")
            }
            io::ErrorKind::UnexpectedEof => {
                Failure::usage("no password was given: type it, or use --password-stdin")
            }
            _ => Failure::new(
                Exit::Other,
                "terminal",
                format!("cannot ask for the password: {error}"),
            ),
        })
}

/// Runs blocking work on a thread of its own. The thread stays behind if the future is dropped.
async fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let failed = |reason: String| Failure::new(Exit::Other, "thread", reason);
    let (done_to, done) = oneshot::channel();
    std::thread::Builder::new()
        .name("password".into())
        .spawn(move || drop(done_to.send(work())))
        .map_err(|error| failed(format!("cannot ask for the password: {error}")))?;
    done.await
        .unwrap_or_else(|_| Err(failed("cannot ask for the password".into())))
}

/// Restores the settings of the terminal if the prompt is abandoned: the prompt has switched the echo off.
struct Terminal {
    #[cfg(unix)]
    before: Option<(std::fs::File, rustix::termios::Termios)>,
    /// The prompt has not ended in order.
    is_open: bool,
}

#[cfg(unix)]
impl Terminal {
    fn new() -> Self {
        let before = || {
            let terminal = std::fs::File::open("/dev/tty").ok()?;
            let settings = rustix::termios::tcgetattr(&terminal).ok()?;
            Some((terminal, settings))
        };
        Self {
            before: before(),
            is_open: true,
        }
    }

    fn restore(&self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        if let Some((terminal, settings)) = &self.before {
            // The terminal may be gone.
            let _ = tcsetattr(terminal, OptionalActions::Now, settings);
        }
    }
}

#[cfg(not(unix))]
impl Terminal {
    fn new() -> Self {
        Self { is_open: true }
    }

    fn restore(&self) {}
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.is_open {
            self.restore();
            crate::stderr::print_on_stderr("");
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_a_non_blocking_standard_input_is_a_password() {
        let name =
            "commands::password::tests::each_line_of_a_non_blocking_standard_input_is_a_password";
        if crate::late_stdin::is_here(name, &[b"the old", b" one\r\nthe new one\n"]) {
            assert_eq!(*from_stdin().unwrap(), "the old one");
            assert_eq!(*from_stdin().unwrap(), "the new one");
            let error = from_stdin().unwrap_err().to_string();
            assert!(error.contains("no password"), "{error}");
        }
    }
}
