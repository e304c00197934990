//! The limit of open files, and the advice if it is reached.

use std::io;

/// Advice for a process that has reached the limit of open files.
pub const TOO_FEW: &str =
    "too few files may be open: raise the limit (`ulimit -n 4096`; systemd: LimitNOFILE=4096)";

/// The advice for an error, if it means that the limit of open files is reached.
pub fn advice(error: &io::Error) -> Option<&'static str> {
    is_too_few(error).then_some(TOO_FEW)
}

/// Raises the process's limit of open files to the highest that it may have.
#[cfg(unix)]
pub fn raise_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // If the system refuses, the limit stays as it is.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// Raises the process's limit of open files: this system has none.
#[cfg(not(unix))]
pub fn raise_limit() {}

#[cfg(unix)]
fn is_too_few(error: &io::Error) -> bool {
    let too_few = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
    too_few
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(not(unix))]
fn is_too_few(_error: &io::Error) -> bool {
    false
}
