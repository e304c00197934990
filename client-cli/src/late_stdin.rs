//! Tests that need a standard input of their own: the test binary starts itself.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Environment variable of the process that has the standard input.
const CHILD: &str = "CONFAB_TEST_LATE_STDIN";

/// Pause before each piece.
const PAUSE: Duration = Duration::from_millis(50);

/// True in a process whose standard input is a non-blocking pipe. In any other, starts the test `name` in such a process,
/// sends the pieces with pauses between them, and panics if the test fails.
pub(crate) fn is_here(name: &str, pieces: &[&[u8]]) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let (read, mut write) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&read, true).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(CHILD, "1")
        .stdin(read)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for piece in pieces {
        std::thread::sleep(PAUSE);
        // The process may have ended already.
        let _ = write.write_all(piece);
    }
    drop(write);
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains(" 1 passed"), "{said}");
    false
}
