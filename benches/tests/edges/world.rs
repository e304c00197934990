//! A room with a listener, and helpers for processes.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use confab_benches::fleet::Call;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::common::{Stage, programs};

/// Upper bound for one step on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A gap of this length means that the voice has stopped. Frames come every 20 ms and counts every 100 ms; the rest is
/// tolerance for a busy machine.
pub const STOPPED: Duration = Duration::from_millis(1500);

/// Time for which voices are checked for gaps.
pub const WHILE: Duration = Duration::from_secs(4);

/// The room.
pub const ROOM: &str = "room";

/// The owner of the room, who listens.
const LISTENER: &str = "listener";

/// A room, its servers and a listener.
pub struct World {
    pub stage: Stage,
    pub listener: Call,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Time until the end.
    pub after: Duration,
}

impl World {
    /// Starts the servers and the listener, and registers `names`.
    pub async fn new(names: &[&str]) -> Self {
        let stage = Stage::new().await;
        for name in [LISTENER].iter().chain(names) {
            stage.register(name).await;
        }
        stage.ok(LISTENER, &["conference", "create", ROOM]).await;
        let args = [
            ROOM,
            "--in",
            "none",
            "--out",
            "none",
            "--stats-every",
            "100ms",
        ];
        let mut listener = stage.fleet.users().join(LISTENER, &args).unwrap();
        let is_live = |event: &serde_json::Value| event["state"] == "live";
        listener.wait_until("media", is_live).await.unwrap();
        Self { stage, listener }
    }

    /// The client as `name`, without input and output.
    pub fn client(&self, name: &str, args: &[&str]) -> Command {
        let users = self.stage.fleet.users();
        let mut command = program("confab");
        command
            .args(args)
            .env("CONFAB_SERVER", &users.server)
            .env("CONFAB_CONFIG_DIR", users.home(name))
            .env("CONFAB_CA", self.authority());
        command
    }

    /// A call of `name` that sends a tone, with further options.
    pub fn speaker(&self, name: &str, args: &[&str]) -> Command {
        let all = [&["join", ROOM, "--tone", "440", "--out", "none"], args].concat();
        self.client(name, &all)
    }

    pub fn authority(&self) -> PathBuf {
        self.scratch().join("control/ca.crt")
    }

    pub fn scratch(&self) -> &Path {
        self.stage.scratch.path()
    }

    /// Waits until the listener hears `name`.
    pub async fn hears(&mut self, name: &str) {
        let heard = |stats: &serde_json::Value| super::common::received(stats, name) > 25;
        self.listener.wait_until("stats", heard).await.unwrap();
    }

    /// Checks for [`WHILE`] that the listener hears all of `names` without a gap.
    pub async fn goes_on_hearing(&mut self, names: &[&str]) {
        for name in names {
            self.hears(name).await;
        }
        let from = Instant::now();
        tokio::time::sleep(WHILE).await;
        self.listener.catch_up().unwrap();
        for name in names {
            let gap = self.listener.longest_gap(name, from, from + WHILE);
            assert!(gap < STOPPED, "{name} was silent for {gap:?}");
        }
    }

    /// Waits until the listener sees that `name` has left in order.
    pub async fn sees_leave(&mut self, name: &str) {
        let went = |event: &serde_json::Value| event["username"] == name;
        let left = self
            .listener
            .wait_until("participant_left", went)
            .await
            .unwrap();
        assert_eq!(left["reason"], "left", "{name}");
    }

    pub async fn end(mut self) {
        self.listener.leave().await.unwrap();
        self.stage.fleet.end().await.unwrap();
    }
}

/// One of the programs, without input and output.
pub fn program(name: &str) -> Command {
    // Under `nohup` the programs would inherit that SIGHUP is ignored. A handler they do not inherit.
    drop(signal(SignalKind::hangup()).unwrap());
    let mut command = Command::new(programs().join(name));
    command
        .kill_on_drop(true)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// The same command with a redirection of the shell, such as `>&-`.
pub fn redirected(command: &Command, redirection: &str) -> Command {
    let command = command.as_std();
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("exec \"$0\" \"$@\" {redirection}"))
        .arg(command.get_program())
        .args(command.get_args())
        .kill_on_drop(true)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    shell
}

/// Sends a signal.
pub fn tell(child: &Child, signal: Signal) {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let id = id.and_then(Pid::from_raw).expect("it runs");
    kill_process(id, signal).unwrap();
}

/// Waits for the end.
pub async fn ended(child: &mut Child) -> Ending {
    let began = Instant::now();
    let status = tokio::time::timeout(PATIENCE, child.wait()).await;
    Ending {
        code: status.expect("it ends").unwrap().code(),
        after: began.elapsed(),
    }
}

/// Sends a signal and waits for the end.
pub async fn ended_by(child: &mut Child, signal: Signal) -> Ending {
    tell(child, signal);
    ended(child).await
}

/// Runs a command to its end. Returns the exit code and the text on those outputs that are pipes.
pub async fn run(command: &mut Command) -> (Option<i32>, String) {
    // `output` would replace the standard output that was set.
    let running = command.stderr(Stdio::piped()).spawn().unwrap();
    command.stdout(Stdio::null());
    let output = tokio::time::timeout(PATIENCE, running.wait_with_output()).await;
    let output = output.expect("it ends").unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// A small pipe: read end, write end.
pub fn small_pipe() -> (OwnedFd, OwnedFd) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    rustix::pipe::fcntl_setpipe_size(&write, 4096).unwrap();
    (read, write)
}

/// The write end of a pipe whose read end is closed.
pub fn pipe_without_reader() -> OwnedFd {
    small_pipe().1
}

/// `/dev/full`.
pub fn full() -> Stdio {
    let file = std::fs::File::options().write(true).open("/dev/full");
    file.unwrap().into()
}

/// Creates a named pipe.
pub fn named_pipe(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

/// A terminal: the end of the person, and the end of the program.
pub fn terminal() -> (OwnedFd, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let person = openpt(flags).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let program = ioctl_tiocgptpeer(&person, flags).unwrap();
    (person, program)
}
