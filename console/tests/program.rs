//! Panics and the end of a program. The test binary starts itself as the program.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead as _, Read as _, Write as _};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use confab_console::{Class, Form, StandardInput, end, err, out, run};

/// Environment variable with the role of the process.
const ROLE: &str = "CONFAB_CONSOLE_TEST";

/// Time limit for the end: one second, and tolerance for a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// Plays the role of the program if this process was started for that; then it does not return.
fn play_role() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let line = |class, text: &str| out().put(class, Form::Text, text);
    match role.as_str() {
        "panic" => run(|| panic!("it went wrong")),
        "panic beside" => run(|| {
            let thread = std::thread::spawn(|| panic!("it went wrong"));
            u8::from(thread.join().is_err()) * 7
        }),
        "talk" => run(|| {
            for _ in 0..100_000 {
                line(Class::Event, "happened");
                err().put(Class::Log, Form::Text, "logged");
            }
            3
        }),
        "answer" => run(|| {
            line(Class::Answer, "asked for");
            u8::from(out().wait().is_err())
        }),
        "read" => run(|| {
            let (mut line, mut rest) = (String::new(), String::new());
            StandardInput::by_line().read_line(&mut line).unwrap();
            StandardInput::default().read_to_string(&mut rest).unwrap();
            print!("{line}+{rest}");
            0
        }),
        _ => end(99),
    }
}

/// Starts this binary in a role. Returns its exit status, its duration and its standard error.
fn process(role: &str, redirection: &str) -> (ExitStatus, Duration, String) {
    let mut child = Command::new("sh")
        .args(["-c", &format!("exec \"$0\" \"$@\" {redirection}")])
        .arg(std::env::current_exe().unwrap())
        .args(["plays_a_role", "--exact", "--nocapture"])
        .env(ROLE, role)
        .env_remove("RUST_BACKTRACE")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    // Standard output is not read.
    let status = child.wait().unwrap();
    let took = began.elapsed();
    let mut said = String::new();
    let mut stderr = child.stderr.take().unwrap();
    if redirection.is_empty() && role != "talk" {
        stderr.read_to_string(&mut said).unwrap();
    }
    (status, took, said)
}

#[test]
fn plays_a_role() {
    play_role();
}

#[test]
fn a_panic_is_reported_and_ends_the_program() {
    let (status, _, said) = process("panic", "");
    assert_eq!(status.code(), Some(101));
    assert!(
        said.contains("panicked at ") && said.contains("it went wrong"),
        "{said}"
    );
    let (status, _, said) = process("panic beside", "");
    assert_eq!(status.code(), Some(7));
    assert!(said.contains("it went wrong"), "{said}");
}

#[test]
fn a_panic_ends_the_program_without_a_reader_too() {
    for redirection in ["2>&-", "2>/dev/full", ">&- 2>&-"] {
        let (status, took, _) = process("panic", redirection);
        assert_eq!(status.code(), Some(101), "{redirection}");
        assert!(took < SOON, "{redirection}: {took:?}");
    }
}

#[test]
fn the_end_waits_one_second_at_most_for_a_reader_that_never_reads() {
    let (status, took, _) = process("talk", "");
    assert_eq!(status.code(), Some(3));
    assert!(took < SOON, "{took:?}");
}

#[test]
fn an_answer_to_a_closed_descriptor_is_lost() {
    for (redirection, code) in [(">&-", 1), (">/dev/null", 0), ("<&- 2>&-", 0)] {
        let (status, _, _) = process("answer", redirection);
        assert_eq!(status.code(), Some(code), "{redirection}");
    }
}

#[test]
fn a_standard_input_that_another_program_made_non_blocking_is_read_to_its_end() {
    let (read, mut write) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&read, true).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["plays_a_role", "--exact", "--nocapture"])
        .env(ROLE, "read")
        .stdin(read)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    for piece in ["fir", "st\nsec", "ond\n"] {
        std::thread::sleep(Duration::from_millis(50));
        // It may have ended already.
        let _ = write.write_all(piece.as_bytes());
    }
    drop(write);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.ends_with("first\n+second\n"), "{said}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_standard_input_that_was_closed_is_at_its_end() {
    for redirection in ["<&-", "</dev/null", "0>/dev/null"] {
        let (status, _, _) = process("read", redirection);
        assert_eq!(status.code(), Some(0), "{redirection}");
    }
}
