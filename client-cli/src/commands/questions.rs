//! Questions to a person at a terminal.

use std::str::FromStr;

use confab_protocol::control::{Birthday, Email, NameError};
use confab_protocol::wire::RegistrationPolicy;

use super::meet;
use crate::failure::{Exit, Failure};
use crate::stderr::print_on_stderr;

/// Why the server takes no new account; `None` if it does.
pub(super) fn refusal_of_new(
    policy: RegistrationPolicy,
    has_invitation: bool,
) -> Option<&'static str> {
    match policy {
        RegistrationPolicy::Open => None,
        RegistrationPolicy::ByInvitation if has_invitation => None,
        RegistrationPolicy::ByInvitation => Some(
            "the server takes new accounts by invitation only: if you have none there, ask for a link that `confab conference invite --link` \
             has made, and follow it with `confab join LINK`",
        ),
        RegistrationPolicy::Closed => Some(
            "on this server only the operator makes accounts: if you have none there, ask for one",
        ),
    }
}

/// Asks for the e-mail address of a new account.
pub(super) async fn email() -> Result<Email, Failure> {
    ask_for("Your e-mail address:").await
}

/// Asks for the birthday of a new account.
pub(super) async fn birthday() -> Result<Birthday, Failure> {
    ask_for("Your birthday, as 1990-12-31:").await
}

/// Asks until the answer has its form.
pub(super) async fn ask_for<T: FromStr<Err = NameError>>(question: &str) -> Result<T, Failure> {
    loop {
        match ask(question).await?.parse() {
            Ok(answer) => return Ok(answer),
            Err(error) => print_on_stderr(&format!("{error}.")),
        }
    }
}

/// The same; an empty answer is none.
pub(super) async fn ask_if_any<T: FromStr<Err = NameError>>(
    question: &str,
) -> Result<Option<T>, Failure> {
    loop {
        let answer = ask(question).await?;
        if answer.is_empty() {
            return Ok(None);
        }
        match answer.parse() {
            Ok(answer) => return Ok(Some(answer)),
            Err(error) => print_on_stderr(&format!("{error}.")),
        }
    }
}

/// Asks; the answer stands in the next line.
pub(super) async fn ask(question: &str) -> Result<String, Failure> {
    print_on_stderr(question);
    let line = meet::read_line().await?;
    if line.is_empty() {
        let message = "nobody answers: standard input has ended";
        return Err(Failure::new(Exit::Auth, "not_logged_in", message));
    }
    Ok(line.trim().to_owned())
}
