//! Complete answers, and exit codes for incomplete ones.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::world::{
    PATIENCE, World, ended_by, full, pipe_without_reader, program, redirected, run, small_pipe,
};

/// Exit code of the client when its answer cannot be written. Other programs end with 1.
const UNWRITTEN: i32 = 9;

/// Commands with an answer, each with its exit code when the answer cannot be written.
async fn commands(world: &World) -> Vec<(Command, i32)> {
    let data = world.scratch().join("control").display().to_string();
    let client: [&[&str]; 8] = [
        &["whoami"],
        &["--json", "whoami"],
        &["account", "export"],
        &["--json", "account", "export"],
        &["sessions", "list"],
        &["conference", "list"],
        &["conference", "info", "room"],
        &["--help"],
    ];
    let control: [&[&str]; 5] = [
        &["fingerprint", "--data-dir", &data],
        &["status", "--data-dir", &data],
        &["status", "--json", "--data-dir", &data],
        &["--help"],
        &["--version"],
    ];
    let relay: [&[&str]; 2] = [&["check"], &["--help"]];
    let client = client.map(|args| (world.client("ann", args), UNWRITTEN));
    let of = |name: &str, args: &[&str]| {
        let mut command = program(name);
        command.args(args);
        (command, 1)
    };
    let control = control.map(|args| of("confab-control", args));
    let relay = relay.map(|args| of("confab-relay", args));
    let benches = ["confab-bench", "confab-load"].map(|name| of(name, &["--help"]));
    let servers = control.into_iter().chain(relay).chain(benches);
    client.into_iter().chain(servers).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_written_is_a_failure() {
    let world = World::new(&["ann"]).await;
    for (mut command, unwritten) in commands(&world).await {
        let name = format!("{:?}", command.as_std());
        let (code, whole) = run(command.stdout(Stdio::piped())).await;
        assert_eq!(code, Some(0), "{name}: {whole}");
        assert!(!whole.is_empty(), "{name} says something");
        for (to, reason) in [
            (full(), "No space left"),
            (pipe_without_reader().into(), "Broken pipe"),
        ] {
            let (code, said) = run(command.stdout(to)).await;
            assert_eq!(code, Some(unwritten), "{name}: {said}");
            assert!(said.contains(reason), "{name}: {said}");
            assert_eq!(said.lines().count(), 1, "{name}: {said}");
        }
        let (code, said) = run(&mut redirected(&command, ">&-")).await;
        assert_eq!(code, Some(unwritten), "{name} >&-: {said}");
        // Standard error needs no reader.
        let mut unheard = redirected(&command, "2>&-");
        let (code, _) = run(unheard.stdout(Stdio::piped())).await;
        assert_eq!(code, Some(0), "{name} 2>&-");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_command_line_ends_with_2_even_if_nobody_reads_why() {
    for name in ["confab", "confab-control", "confab-relay"] {
        for to in [full(), pipe_without_reader().into()] {
            let mut command = program(name);
            let child = command.arg("nonsense").stdout(full()).stderr(to).spawn();
            let mut child = child.unwrap();
            drop(command);
            let status = tokio::time::timeout(PATIENCE, child.wait()).await;
            assert_eq!(status.expect("it ends").unwrap().code(), Some(2), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_waits_for_a_slow_reader_until_a_signal_comes() {
    let world = World::new(&["ann"]).await;
    let args = ["--json", "account", "export"];
    let (_, whole) = run(world.client("ann", &args).stdout(Stdio::piped())).await;

    // Fills a pipe.
    let fill = |write: &std::os::fd::OwnedFd| {
        rustix::io::ioctl_fionbio(write, true).unwrap();
        while rustix::io::write(write, &[b' '; 512]).is_ok() {}
        rustix::io::ioctl_fionbio(write, false).unwrap();
    };
    let (read, write) = small_pipe();
    fill(&write);
    let mut command = world.client("ann", &args);
    let mut waiting = command.stdout(write).spawn().unwrap();
    drop(command);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(waiting.try_wait().unwrap().is_none(), "it waits");
    let mut read = tokio::fs::File::from_std(read.into());
    let mut said = String::new();
    let reading = read.read_to_string(&mut said);
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("it ends")
        .unwrap();
    // But for the time at which each was made.
    let answer = |said: &str| {
        let mut answer: Value = serde_json::from_str(said.trim()).unwrap();
        answer.as_object_mut().unwrap().remove("time").unwrap();
        answer
    };
    assert_eq!(answer(&said), answer(&whole));
    assert_eq!(waiting.wait().await.unwrap().code(), Some(0));

    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let (_unread, write) = small_pipe();
        fill(&write);
        let mut command = world.client("ann", &args);
        let mut waiting = command.stdout(write).spawn().unwrap();
        drop(command);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let ending = ended_by(&mut waiting, signal).await;
        assert_eq!(ending.code, Some(code));
        assert!(ending.after < Duration::from_secs(3), "{ending:?}");
    }
    world.end().await;
}
