//! What both programs of this crate do alike, whatever they measure.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs a program's work to its end. A failure if the work says so, or gives an error, which is told.
pub fn run<E: ToString>(name: &str, work: impl Future<Output = Result<bool, E>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(work).map_err(|error| error.to_string()));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits for Ctrl-C or for being told to end.
pub async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// The folder in which this program is, and the others beside it.
pub fn own_folder() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let folder = program.parent().map(PathBuf::from);
    folder.ok_or_else(|| io::Error::other("this program is in no folder: use --programs"))
}
