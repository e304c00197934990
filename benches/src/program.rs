//! Code that both programs of this crate share.

use std::future::Future;
use std::io;
use std::path::PathBuf;

use confab_console::{Class, Form, err, out};

/// Runs the work of a program and returns the exit code: 0 and 1 for a good and a bad outcome, 3 for an unknown one; 1 too for an
/// error, or if its output cannot be written.
pub fn run<O: Into<Outcome>, E: ToString>(
    name: &str,
    work: impl Future<Output = Result<O, E>>,
) -> u8 {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(work).map_err(|error| error.to_string()));
    let written = out().wait().map_err(|error| error.to_string());
    match result.and_then(|outcome| written.map(|()| outcome.into())) {
        Ok(Outcome::Good) => 0,
        Ok(Outcome::Bad) => 1,
        Ok(Outcome::Unknown) => 3,
        Err(error) => {
            print_error(&format!("{name}: {error}"));
            1
        }
    }
}

/// The outcome of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is as it should be.
    Good,
    /// Something is not.
    Bad,
    /// It says nothing of what was to be measured.
    Unknown,
}

impl From<bool> for Outcome {
    fn from(is_good: bool) -> Self {
        match is_good {
            true => Self::Good,
            false => Self::Bad,
        }
    }
}

/// Writes text to standard output, without waiting for the reader.
pub fn print(text: &str) {
    out().put(Class::Answer, Form::Text, text);
}

/// Writes a line to standard error.
pub fn print_error(text: &str) {
    err().put(Class::Answer, Form::Text, text);
}

/// Waits for SIGINT, SIGTERM or SIGHUP: the programs that were started have to be ended then.
pub async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// The folder in which this program is, and the others beside it.
pub fn own_folder() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let folder = program.parent().map(PathBuf::from);
    folder.ok_or_else(|| io::Error::other("this program is in no folder: use --programs"))
}
