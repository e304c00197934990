//! Signals while a program waits for a person, another process, or the other end of a pipe.

use std::os::fd::AsFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use rustix::termios::{LocalModes, tcgetattr};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use super::world::{PATIENCE, World, ended, ended_by, named_pipe, redirected, tell, terminal};

/// Time limit for the end of a program that is in no room.
const AT_ONCE: Duration = Duration::from_secs(3);

/// Time after which a program waits.
const UNTIL_IT_WAITS: Duration = Duration::from_millis(1500);

const SIGNALS: [(Signal, i32); 3] = [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)];

/// The same for calls.
const OF_CALLS: [(Signal, i32); 3] = [(Signal::INT, 130), (Signal::TERM, 0), (Signal::HUP, 0)];

/// Starts a command once for each signal and sends the signal while the command waits.
async fn ends_by(signals: [(Signal, i32); 3], what: &str, start: impl Fn() -> Command) {
    let start = |signal| {
        let mut command = start();
        let child = command.stdin(Stdio::piped()).spawn().unwrap();
        (signal, child)
    };
    let waiting: Vec<((Signal, i32), Child)> = signals.map(start).into();
    tokio::time::sleep(UNTIL_IT_WAITS).await;
    for ((signal, code), mut child) in waiting {
        assert!(child.try_wait().unwrap().is_none(), "{what} waits");
        let _stdin = child.stdin.take();
        let ending = ended_by(&mut child, signal).await;
        assert_eq!(ending.code, Some(code), "{what}, {signal:?}");
        assert!(ending.after < AT_ONCE, "{what}, {signal:?}: {ending:?}");
    }
}

/// Takes the lock of a config directory, as another process does.
fn lock(home: &Path) -> std::fs::File {
    let lock = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(home.join("sessions.lock"));
    let lock = lock.unwrap();
    lock.lock().unwrap();
    lock
}

#[tokio::test(flavor = "multi_thread")]
async fn every_signal_ends_a_waiting_program() {
    let world = World::new(&["ann", "ben"]).await;
    let call = ["join", "room", "--in", "none", "--out", "none"];
    let password = || world.client("ann", &["login", "ann", "--password-stdin"]);
    ends_by(SIGNALS, "a password on standard input", password).await;

    let pipe = world.scratch().join("pipe");
    named_pipe(&pipe);
    let authority = |args: &[&str]| {
        let mut command = world.client("ann", args);
        command.env("CONFAB_CA", &pipe);
        command
    };
    ends_by(SIGNALS, "--ca of a pipe", || authority(&["whoami"])).await;
    ends_by(OF_CALLS, "--ca of a pipe", || authority(&call)).await;

    let home = world.stage.fleet.users().home("ben");
    let held = lock(&home);
    ends_by(SIGNALS, "a lock", || world.client("ben", &["whoami"])).await;
    ends_by(OF_CALLS, "a lock", || world.client("ben", &call)).await;
    drop(held);

    let nowhere = |args: &[&str]| {
        let mut command = world.client("ann", args);
        // An address without a host (RFC 5737).
        command.env("CONFAB_SERVER", "192.0.2.1:4433");
        command.env("CONFAB_PASSWORD", "four random words here");
        command
    };
    ends_by(SIGNALS, "a server", || nowhere(&["login", "ann"])).await;

    let no_header = ["join", "room", "--in", "-", "--out", "none"];
    ends_by(OF_CALLS, "a header", || world.client("ann", &no_header)).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_for_a_password_leaves_the_terminal_as_it_was() {
    let world = World::new(&["ann"]).await;
    let echo = |terminal: &dyn AsFd| {
        let modes = tcgetattr(terminal.as_fd()).unwrap().local_modes;
        modes.contains(LocalModes::ECHO)
    };
    for (signal, code) in SIGNALS {
        let (person, program) = terminal();
        // `setsid --ctty` makes the terminal the controlling terminal of the program.
        let mut login = world.client("ann", &["login", "ann"]);
        let end = |fd: &std::os::fd::OwnedFd| Stdio::from(fd.try_clone().unwrap());
        let mut command = Command::new("setsid");
        command
            .args(["--ctty", "--wait"])
            .arg(login.as_std().get_program())
            .args(login.as_std().get_args())
            .kill_on_drop(true)
            .stdin(end(&program))
            .stdout(end(&program))
            .stderr(end(&program));
        for (name, value) in login.as_std().get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        login.env_clear();
        let mut asking = command.spawn().unwrap();
        drop(command);
        let began = std::time::Instant::now();
        while echo(&program) {
            assert!(began.elapsed() < PATIENCE, "it asks");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The signal goes to the foreground process group of the terminal.
        let group = rustix::termios::tcgetpgrp(&person).unwrap();
        rustix::process::kill_process_group(group, signal).unwrap();
        let ending = ended(&mut asking).await;
        // The signal may have ended `setsid` itself.
        assert!(ending.code.is_none_or(|ended| ended == code), "{ending:?}");
        let began = std::time::Instant::now();
        while !echo(&program) {
            assert!(began.elapsed() < PATIENCE, "what is typed is shown again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn named_pipes_without_another_end_delay_neither_the_call_nor_its_end() {
    let mut world = World::new(&["ann", "ben"]).await;
    let [input, output] = ["input", "output"].map(|name| world.scratch().join(name));
    named_pipe(&input);
    named_pipe(&output);
    let [input, output] = [&input, &output].map(|path| path.to_str().unwrap());

    let args = ["join", "room", "--in", input, "--out", "none"];
    let timed = [&args[..], &["--duration", "1s"]].concat();
    let mut silent = world.client("ann", &timed).spawn().unwrap();
    assert_eq!(ended(&mut silent).await.code, Some(0));
    world.sees_leave("ann").await;

    let args = ["join", "room", "--tone", "440", "--out", output];
    let mut speaks = world.client("ben", &args).spawn().unwrap();
    world.goes_on_hearing(&["ben"]).await;
    let ending = ended_by(&mut speaks, Signal::TERM).await;
    assert_eq!(ending.code, Some(7), "nothing was recorded");
    assert!(ending.after < Duration::from_secs(15), "{ending:?}");
    world.sees_leave("ben").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_leaves_the_room_unless_it_was_ignored_at_the_start() {
    let mut world = World::new(&["ann", "ben"]).await;
    let mut ann = world.speaker("ann", &[]).spawn().unwrap();
    world.hears("ann").await;
    assert_eq!(ended_by(&mut ann, Signal::HUP).await.code, Some(0));
    world.sees_leave("ann").await;

    let plain = world.speaker("ben", &[]);
    let mut ignoring = redirected(&plain, "")
        .as_std()
        .get_args()
        .map(ToOwned::to_owned)
        .collect::<Vec<_>>();
    // The effect of `nohup`.
    ignoring[1] = "trap '' HUP; exec \"$0\" \"$@\"".into();
    let mut command = Command::new("sh");
    command.args(ignoring).kill_on_drop(true);
    for (name, value) in plain.as_std().get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let mut ben = command.spawn().unwrap();
    world.hears("ben").await;
    tell(&ben, Signal::HUP);
    world.goes_on_hearing(&["ben"]).await;
    assert_eq!(ended_by(&mut ben, Signal::TERM).await.code, Some(0));
    world.sees_leave("ben").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_ends_a_hanging_leave_and_a_second_sighup_does_not() {
    let mut world = World::new(&["ann", "ben"]).await;
    let control = world.stage.fleet.control_pid().unwrap();
    let control = rustix::process::Pid::from_raw(control.cast_signed()).unwrap();
    for (name, signal, code) in [
        ("ann", Signal::TERM, Some(143)),
        ("ben", Signal::HUP, Some(0)),
    ] {
        let mut call = world.speaker(name, &[]).spawn().unwrap();
        world.hears(name).await;
        rustix::process::kill_process(control, Signal::STOP).unwrap();
        tell(&call, signal);
        tokio::time::sleep(Duration::from_millis(300)).await;
        tell(&call, signal);
        let ending = ended(&mut call).await;
        rustix::process::kill_process(control, Signal::CONT).unwrap();
        assert_eq!(ending.code, code, "{name}");
        assert!(ending.after < Duration::from_secs(8), "{name}: {ending:?}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_begins_late_is_heard() {
    let mut world = World::new(&["ann"]).await;
    let args = [
        "--json",
        "join",
        "room",
        "--in",
        "-",
        "--out",
        "none",
        "--until-end",
    ];
    let mut command = world.client("ann", &args);
    let mut call = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(call.stdout.take().unwrap()).lines();
    let mut next = async |name: &str| loop {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let line = line.expect("it says it").unwrap().expect("it goes on");
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        if event["event"] == name {
            return event;
        }
    };
    next("joined").await;
    let waited_for = next("warning").await["message"].to_string();
    assert!(waited_for.contains("standard input"), "{waited_for}");
    let mut stdin = call.stdin.take().unwrap();
    stdin.write_all(&super::files::wav(2)).await.unwrap();
    drop(stdin);
    world.hears("ann").await;
    next("capture_started").await;
    assert!(next("input_ended").await["problem"].is_null());
    assert_eq!(ended(&mut call).await.code, Some(0));
    world.end().await;
}
