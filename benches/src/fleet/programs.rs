//! The folder of the real programs, and a server that was started from it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::{DEADLINE, Ended, FleetError};

/// A program that was told to end is killed after this time. A relay drains for 10 s, and then says goodbye.
const END_DEADLINE: Duration = Duration::from_secs(20);

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
}

/// A server that runs.
#[derive(Debug)]
pub struct Process {
    /// Its name in messages.
    pub name: String,
    pub address: SocketAddr,
    /// Where a relay tells its figures, when it was started with `--metrics`.
    pub metrics: Option<SocketAddr>,
    child: Child,
}

impl Programs {
    /// The programs in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// A command that ends with the harness and reads nothing. `program` may be a path out of the folder.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(self.folder.join(program));
        command.kill_on_drop(true).stdin(Stdio::null());
        command
    }

    /// The same with the lowest priority.
    pub fn nice_command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = self.command("/usr/bin/nice");
        command.args(["-n", "19"]).arg(self.folder.join(program));
        command
    }

    pub fn spawn(&self, program: &str, command: &mut Command) -> Result<Child, FleetError> {
        command.spawn().map_err(|error| FleetError::Start {
            program: self.folder.join(program),
            error,
        })
    }

    /// Runs a command to its end; `name` is for messages.
    pub async fn output(&self, name: &str, command: &mut Command) -> Result<Ended, FleetError> {
        let failed = |what: String| FleetError::Program {
            program: name.to_owned(),
            what,
        };
        let output = tokio::time::timeout(DEADLINE, command.output())
            .await
            .map_err(|_| failed("did not end".to_owned()))?
            .map_err(|error| failed(error.to_string()))?;
        Ok(Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a command that has to end well.
    pub async fn done(&self, name: &str, command: &mut Command) -> Result<String, FleetError> {
        let ended = self.output(name, command).await?;
        if ended.code != Some(0) {
            return Err(FleetError::Program {
                program: name.to_owned(),
                what: format!("exit code {:?}: {}", ended.code, ended.stderr.trim()),
            });
        }
        Ok(ended.stdout)
    }

    /// Starts a server and waits until it says where it listens. What it logs is added to `log`.
    pub async fn serve(
        &self,
        program: &str,
        name: &str,
        args: &[String],
        log: &Path,
    ) -> Result<Process, FleetError> {
        let log_file = std::fs::File::options().create(true).append(true).open(log);
        let log_file = log_file.map_err(|error| FleetError::File {
            file: log.to_owned(),
            error,
        })?;
        let mut command = self.command(program);
        command.args(args).stdout(Stdio::piped()).stderr(log_file);
        let mut child = self.spawn(program, &mut command)?;
        let stdout = child.stdout.take().expect("standard output was piped");
        let metrics = args.iter().any(|arg| arg == "--metrics");
        let (listening_to, listening) = oneshot::channel();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            let address = word_after(&mut lines, "listening on ").await;
            let metrics = match metrics {
                true => word_after(&mut lines, "metrics on http://").await,
                false => None,
            };
            // Whoever waited may have given up.
            let _ = listening_to.send(address.map(|address| (address, metrics)));
            // What it prints later is of no interest, but a full pipe would stop it.
            while let Ok(Some(_)) = lines.next_line().await {}
        });
        let listening = tokio::time::timeout(DEADLINE, listening).await;
        match listening.ok().and_then(Result::ok).flatten() {
            Some((address, metrics)) => Ok(Process {
                name: name.to_owned(),
                address,
                metrics,
                child,
            }),
            None => Err(FleetError::Program {
                program: name.to_owned(),
                what: format!(
                    "did not start; its log: {}",
                    std::fs::read_to_string(log).unwrap_or_default()
                ),
            }),
        }
    }
}

impl Process {
    /// Its process id; `None` when it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends it at once, as a crash would.
    pub async fn kill(mut self) {
        // It may have ended by itself.
        let _ = self.child.kill().await;
    }

    /// Lets it stand still, its sockets open, as a machine that is out of memory does.
    pub fn stall(&self) {
        signal(&self.child, Signal::STOP);
    }

    /// Lets it go on.
    pub fn wake(&self) {
        signal(&self.child, Signal::CONT);
    }

    /// Asks it to end, as an operator would, and does not wait.
    pub fn terminate(&self) {
        signal(&self.child, Signal::TERM);
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Errors
    ///
    /// The program did not end with the expected code, or not in time.
    pub async fn end(mut self) -> Result<(), FleetError> {
        let status = end(&mut self.child).await;
        if status.is_some_and(|status| status.success()) {
            return Ok(());
        }
        Err(FleetError::Program {
            program: self.name,
            what: format!("did not end in order when told to ({status:?})"),
        })
    }

    /// Resident memory in bytes: now, and at most so far. `None` when it has ended, or on a system that does not tell.
    pub fn memory(&self) -> Option<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()?)).ok()?;
        let bytes = |field: &str| -> Option<u64> {
            let line = status.lines().find(|line| line.starts_with(field))?;
            let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
            Some(kilobytes * 1024)
        };
        Some((bytes("VmRSS:")?, bytes("VmHWM:")?))
    }
}

/// Tells a program something by a signal.
pub(super) fn signal(child: &Child, signal: Signal) {
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok())
        && let Some(id) = Pid::from_raw(id)
    {
        // It may have ended by itself meanwhile.
        let _ = kill_process(id, signal);
    }
}

async fn end(child: &mut Child) -> Option<ExitStatus> {
    signal(child, Signal::TERM);
    match tokio::time::timeout(END_DEADLINE, child.wait()).await {
        Ok(status) => status.ok(),
        Err(_) => {
            let _ = child.kill().await;
            None
        }
    }
}

/// Reads on to a line that begins so; the address behind.
async fn word_after(
    lines: &mut tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    prefix: &str,
) -> Option<SocketAddr> {
    while let Ok(Some(line)) = lines.next_line().await {
        let rest = line.strip_prefix(prefix);
        let word = rest.and_then(|rest| rest.split([' ', '/']).next());
        if let Some(address) = word.and_then(|word| word.parse().ok()) {
            return Some(address);
        }
    }
    None
}
