//! The first contact with a server: it is there and trusted before anything secret is asked for, let alone sent.
//!
//! No connection stays open while a person reads, thinks and types.

use std::io::{self, BufRead as _, IsTerminal as _};

use confab_console::StandardInput;

use super::context::Context;
use super::password;
use crate::failure::{Exit, Failure};
use crate::flags::{FirstSight, PasswordFlags};
use crate::net::sign_in::Access;
use crate::net::trust::{PinSource, ServerVerdict, public_roots};
use crate::net::{Fingerprint, Link, Trust, TrustError};
use crate::stderr::print_on_stderr;

/// Finds the server for a command that makes a session. One of which nothing is known is looked at, and the person is
/// asked whether it is the right one. One that is known is only looked for where the person is asked for the password.
pub(super) async fn server(
    context: &Context,
    first: &FirstSight,
    password: &PasswordFlags,
) -> Result<Access, Failure> {
    let mut access = context.access().await?;
    if matches!(access.trust(), Trust::Unknown) {
        access.trust_by(first_sight(&access, first).await?);
    } else if password::needs_input(password, password::CURRENT) {
        access.open().await?.close().await;
    }
    Ok(access)
}

/// Makes sure that the server is there, is the right one and knows the session, where the person is asked for a password.
pub(super) async fn session(
    context: &Context,
    password: &PasswordFlags,
    variables: &[&str],
) -> Result<(), Failure> {
    if password::needs_input(password, variables) {
        context.signed_in().await?.1.close().await;
    }
    Ok(())
}

async fn first_sight(access: &Access, flags: &FirstSight) -> Result<Trust, Failure> {
    let roots = public_roots().await?;
    let got = match Link::examine(&access.server, roots.clone()).await? {
        ServerVerdict::Trusted => {
            return Ok(Trust::Public {
                roots,
                authority: None,
            });
        }
        ServerVerdict::Unproved(got) => got,
    };
    let server = access.server.to_string();
    let known_servers = access.store.known_servers_path();
    if access.store.sessions().await?.get(&server).is_some() {
        let path = known_servers;
        return Err(TrustError::Forgotten { server, got, path }.into());
    }
    if flags.trust_first_sight {
        print_on_stderr(&format!(
            "confab: first time at {server}: its authority is {got}, remembered in {}; compare it with what \
             `confab-control fingerprint` prints there",
            known_servers.display()
        ));
    } else if !has_person() {
        return Err(TrustError::NobodyToAsk { server, got }.into());
    } else if !is_right(&server, got).await? {
        return Err(TrustError::Declined { server, got }.into());
    }
    Ok(Trust::Pinned {
        pin: got,
        source: PinSource::FirstSight,
    })
}

/// Asks the person. The right fingerprint as an answer proves that the person compared it.
async fn is_right(server: &str, got: Fingerprint) -> Result<bool, Failure> {
    print_on_stderr(&format!(
        "The server {server} is seen for the first time. Its authority is"
    ));
    print_on_stderr(&format!("  {got}"));
    print_on_stderr("`confab-control fingerprint` prints the right one on the server's machine.");
    print_on_stderr(
        "Is it the right one? Answer yes or no, or with the fingerprint that was expected.",
    );
    loop {
        let answer = read_line().await?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "yes" | "y" => return Ok(true),
            "no" | "n" | "" => return Ok(false),
            other => match other.parse::<Fingerprint>() {
                Ok(expected) => return Ok(expected == got),
                Err(_) => print_on_stderr("Please answer yes or no."),
            },
        }
    }
}

/// True if a person reads the questions and can answer them.
pub(super) fn has_person() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a `yes` at a terminal. Without one nobody is asked: a script means what it says.
///
/// # Errors
///
/// A failure if the answer is another one.
pub(super) async fn confirm(question: &str) -> Result<(), Failure> {
    if !has_person() {
        return Ok(());
    }
    print_on_stderr(question);
    match read_line().await?.trim().to_ascii_lowercase().as_str() {
        "yes" => Ok(()),
        _ => Err(Failure::new(
            Exit::Other,
            "not_confirmed",
            "not confirmed: nothing was changed",
        )),
    }
}

/// A line of standard input; empty at its end. Waits on a thread of its own, so that signals end the program.
pub(super) async fn read_line() -> Result<String, Failure> {
    let reading = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        StandardInput::by_line().read_line(&mut line).map(|_| line)
    });
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Other,
            "terminal",
            format!("cannot read the answer: {error}"),
        )
    };
    reading
        .await
        .map_err(|error| cannot(&error))?
        .map_err(|error| cannot(&error))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_on_a_non_blocking_standard_input_needs_input() {
        let name = "commands::meet::tests::an_answer_on_a_non_blocking_standard_input_needs_input";
        if crate::late_stdin::is_here(name, &[b"ye", b"s\nno\n"]) {
            assert_eq!(read_line().await.unwrap(), "yes\n");
            assert_eq!(read_line().await.unwrap(), "no\n");
            assert_eq!(read_line().await.unwrap(), "");
        }
    }
}
