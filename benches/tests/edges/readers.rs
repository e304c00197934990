//! Slow, missing and vanishing readers of a call's output.

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use rustix::termios::{Action, tcflow};
use tokio::process::Command;

use super::world::{
    World, ended, ended_by, full, pipe_without_reader, redirected, run, small_pipe, terminal,
};

/// Time limit for the end of a call: the leave, one second for the last lines, and tolerance for a busy machine.
const SOON: Duration = Duration::from_secs(8);

/// Options that fill a pipe quickly.
const TALKATIVE: [&str; 3] = ["--json", "--stats-every", "1ms"];

const READER_GONE: Option<i32> = Some(9);

/// Sends both outputs to `to`.
fn both(command: &mut Command, to: &OwnedFd) {
    command.stdout(to.try_clone().unwrap());
    command.stderr(to.try_clone().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_never_reads_stops_no_voice_and_no_signal() {
    let mut world = World::new(&["ann", "ben", "cem"]).await;
    let (_unread, pipe) = small_pipe();
    let mut calls = Vec::new();
    for (name, signal, code) in [
        ("ann", Signal::TERM, 0),
        ("ben", Signal::INT, 130),
        ("cem", Signal::HUP, 0),
    ] {
        let mut command = world.speaker(name, &TALKATIVE);
        both(&mut command, &pipe);
        calls.push((name, signal, code, command.spawn().unwrap()));
    }
    world.goes_on_hearing(&["ann", "ben", "cem"]).await;
    for (name, signal, code, mut call) in calls {
        let ending = ended_by(&mut call, signal).await;
        assert_eq!(ending.code, Some(code), "{name}");
        assert!(ending.after < SOON, "{name}: {ending:?}");
        world.sees_leave(name).await;
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_never_reads_stops_no_clock() {
    let mut world = World::new(&["ann"]).await;
    let (_unread, pipe) = small_pipe();
    let mut command = world.speaker("ann", &TALKATIVE);
    both(command.args(["--duration", "3s"]), &pipe);
    let mut call = command.spawn().unwrap();
    world.hears("ann").await;
    let ending = ended(&mut call).await;
    assert_eq!(ending.code, Some(0));
    assert!(ending.after < Duration::from_secs(3) + SOON, "{ending:?}");
    world.sees_leave("ann").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_was_stopped_stops_no_voice_and_no_signal() {
    let mut world = World::new(&["ann", "ben"]).await;
    let mut calls = Vec::new();
    for (name, form) in [("ann", &TALKATIVE[..]), ("ben", &["-v"])] {
        let (person, program) = terminal();
        let mut command = world.speaker(name, form);
        both(&mut command, &program);
        // The effect of Ctrl-S.
        tcflow(&program, Action::OOff).unwrap();
        calls.push((name, person, command.spawn().unwrap()));
    }
    world.goes_on_hearing(&["ann", "ben"]).await;
    for (name, _person, mut call) in calls {
        let ending = ended_by(&mut call, Signal::INT).await;
        assert_eq!(ending.code, Some(130), "{name}");
        assert!(ending.after < SOON, "{name}: {ending:?}");
        world.sees_leave(name).await;
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_ends_a_call_in_order() {
    let mut world = World::new(&["ann", "ben", "cem"]).await;
    let mut calls = Vec::new();
    for (name, args) in [
        ("ann", &["--json"][..]),
        // It writes nothing that could fail.
        ("ben", &[]),
        ("cem", &["--out", "-"]),
    ] {
        let (read, write) = small_pipe();
        let mut command = match name {
            "cem" => world.client(name, &["join", "room", "--tone", "440", "--out", "-"]),
            _ => world.speaker(name, args),
        };
        let call = command.stdout(write).spawn().unwrap();
        // The command holds a copy of the write end.
        drop(command);
        calls.push((name, read, call));
    }
    for (name, read, mut call) in calls {
        world.hears(name).await;
        drop(read);
        let ending = ended(&mut call).await;
        assert_eq!(ending.code, READER_GONE, "{name}");
        assert!(ending.after < SOON, "{name}: {ending:?}");
        world.sees_leave(name).await;
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_output_that_nobody_reads_and_a_full_disk_end_no_call() {
    let mut world = World::new(&["ann", "ben", "cem"]).await;
    let mut ann = world.speaker("ann", &["-vv"]);
    let mut ben = world.speaker("ben", &["--json", "-vv", "--stats-every", "50ms"]);
    let cem = redirected(&world.speaker("cem", &["-vv"]), "2>&-");
    ann.stderr(pipe_without_reader());
    ben.stdout(full()).stderr(full());
    let calls = [("ann", ann), ("ben", ben), ("cem", cem)]
        .map(|(name, mut command)| (name, command.spawn().unwrap()));
    world.goes_on_hearing(&["ann", "ben", "cem"]).await;
    for (name, mut call) in calls {
        let ending = ended_by(&mut call, Signal::TERM).await;
        assert_eq!(ending.code, Some(0), "{name}");
        world.sees_leave(name).await;
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_would_hear_of_is_refused() {
    let world = World::new(&["ann"]).await;
    let closed = redirected(&world.speaker("ann", &["--json"]), ">&-");
    let sound = world.client("ann", &["join", "room", "--in", "none", "--out", "-"]);
    let no_sound = redirected(&sound, ">&-");
    let mut gone = world.speaker("ann", &["--json"]);
    gone.stdout(pipe_without_reader());
    for mut command in [closed, no_sound, gone] {
        let mut call = command.stderr(Stdio::null()).spawn().unwrap();
        drop(command);
        assert_eq!(ended(&mut call).await.code, READER_GONE);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_reads_too_late_is_told_how_much_it_missed() {
    use tokio::io::AsyncReadExt as _;
    let mut world = World::new(&["ann"]).await;
    let mut command = world.speaker("ann", &TALKATIVE);
    let mut call = command.stdout(Stdio::piped()).spawn().unwrap();
    world.goes_on_hearing(&["ann"]).await;
    let mut said = Vec::new();
    let mut stdout = call.stdout.take().unwrap();
    let mut piece = vec![0; 65_536];
    let has_missed = |said: &[u8]| said.windows(17).any(|w| w == b"{\"event\":\"missed\"");
    // The time until the queue is full depends on the machine.
    for seconds in [1, 5, 20, 60] {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let began = std::time::Instant::now();
        while !has_missed(&said) && began.elapsed() < Duration::from_secs(2) {
            let read = stdout.read(&mut piece).await.unwrap();
            assert!(read > 0, "it goes on");
            said.extend_from_slice(&piece[..read]);
        }
        if has_missed(&said) {
            break;
        }
    }
    assert!(has_missed(&said), "the event comes");
    let reading = tokio::spawn(async move {
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).await.unwrap();
        [said, rest].concat()
    });
    let ending = ended_by(&mut call, Signal::TERM).await;
    assert_eq!(ending.code, Some(0));
    let said = String::from_utf8(reading.await.unwrap()).unwrap();
    let events: Vec<serde_json::Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).expect("whole lines"))
        .collect();
    let count = |event: &serde_json::Value| event["count"].as_u64().unwrap_or_default();
    let missed = events.iter().filter(|event| event["event"] == "missed");
    assert!(missed.clone().count() > 0 && missed.map(count).all(|count| count > 0));
    assert_eq!(events.last().unwrap()["event"], "left");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_that_nobody_reads_holds_nothing_up() {
    let mut world = World::new(&["ann"]).await;
    let (_unread, pipe) = small_pipe();
    let args = ["join", "room", "--tone", "440", "--out", "-"];
    let mut command = world.client("ann", &args);
    let mut call = command.stdout(pipe).spawn().unwrap();
    drop(command);
    world.goes_on_hearing(&["ann"]).await;
    let ending = ended_by(&mut call, Signal::TERM).await;
    // The sound is not complete.
    assert_eq!(ending.code, Some(7));
    assert!(ending.after < 2 * SOON, "{ending:?}");
    world.sees_leave("ann").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_said_in_one_line_where_somebody_reads() {
    let world = World::new(&["ann"]).await;
    let mut command = world.client("ann", &["whoami"]);
    let (code, said) = run(command.stdout(full())).await;
    assert_eq!(code, READER_GONE);
    assert_eq!(
        said,
        "confab: cannot write to standard output: No space left on device\n"
    );
    world.end().await;
}
