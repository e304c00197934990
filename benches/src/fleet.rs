//! The real programs: started on free loopback ports, watched through what they print, ended with the harness.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// A program that does not say within this time what it should has failed.
const DEADLINE: Duration = Duration::from_secs(60);

/// A program that was told to end is killed after this time.
const END_DEADLINE: Duration = Duration::from_secs(5);

const CONTROL: &str = "confab-control";
const RELAY: &str = "confab-relay";

/// Why the fleet does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A program is not there or cannot be started.
    #[error("cannot start {}: {error}; build the workspace first", .program.display())]
    Start {
        /// Which.
        program: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// A program ended or said something else.
    #[error("{program}: {what}")]
    Program {
        /// Which.
        program: String,
        /// What it did.
        what: String,
    },
    /// A file could not be written.
    #[error("cannot write {}: {error}", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
}

/// Control and a relay on this machine, and the folder in which everything of theirs is.
pub struct Fleet {
    programs: PathBuf,
    scratch: PathBuf,
    /// Where control listens.
    pub control: SocketAddr,
    control_flags: Vec<String>,
    servers: Vec<Server>,
}

struct Server {
    name: &'static str,
    child: Child,
}

/// A program that ran to its end.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it printed of errors.
    pub stderr: String,
}

/// A `confab join` that runs.
pub struct Call {
    /// Who.
    pub name: String,
    child: Child,
    input: Option<UnboundedSender<Vec<u8>>>,
    lines: Lines<BufReader<ChildStdout>>,
    /// Every event so far.
    pub events: Vec<Value>,
}

impl Fleet {
    /// Starts control and a relay from the folder `programs`; all they write goes below `scratch`.
    pub async fn start(programs: &Path, scratch: &Path) -> Result<Self, FleetError> {
        Self::start_with(programs, scratch, Vec::new()).await
    }

    /// The same with more flags for control.
    pub async fn start_with(
        programs: &Path,
        scratch: &Path,
        control_flags: Vec<String>,
    ) -> Result<Self, FleetError> {
        let mut fleet = Self {
            programs: programs.to_owned(),
            scratch: scratch.to_owned(),
            control: SocketAddr::from(([127, 0, 0, 1], 0)),
            control_flags,
            servers: Vec::new(),
        };
        fleet.start_control().await?;
        let (data, identity) = (fleet.data_dir(), fleet.identity_dir());
        let (data, identity) = (data.to_string_lossy(), identity.to_string_lossy());
        let args = [
            "relay-identity",
            "demo",
            "--out",
            &identity,
            "--data-dir",
            &data,
        ];
        let mut command = fleet.command("confab-control");
        let name = "confab-control relay-identity";
        let ended = fleet.output(name, command.args(args)).await?;
        if ended.code != Some(0) {
            return Err(FleetError::Program {
                program: name.to_owned(),
                what: ended.stderr,
            });
        }
        fleet.start_relay().await?;
        Ok(fleet)
    }

    /// Starts control, where it was before if it was.
    pub async fn start_control(&mut self) -> Result<(), FleetError> {
        let (listen, data) = (self.control.to_string(), self.data_dir());
        let (data, flags) = (data.to_string_lossy(), self.control_flags.clone());
        let mut args = vec!["serve", "--listen", &listen, "--data-dir", &data];
        args.extend(flags.iter().map(String::as_str));
        self.control = self.serve(CONTROL, &args).await?;
        Ok(())
    }

    /// Control's process; `None` when it has ended.
    pub fn control_pid(&self) -> Option<u32> {
        let control = self.servers.iter().find(|server| server.name == CONTROL)?;
        control.child.id()
    }

    /// Starts the relay, on any free port.
    pub async fn start_relay(&mut self) -> Result<(), FleetError> {
        let (control, identity) = (self.control.to_string(), self.identity_dir());
        let identity = identity.to_string_lossy();
        let args = [
            "--listen",
            "127.0.0.1:0",
            "--control",
            &control,
            "--identity",
            &identity,
        ];
        self.serve(RELAY, &args).await.map(drop)
    }

    /// Ends control at once, as a crash would.
    pub async fn kill_control(&mut self) {
        self.kill(CONTROL).await;
    }

    /// Ends the relay at once, as a crash would.
    pub async fn kill_relay(&mut self) {
        self.kill(RELAY).await;
    }

    async fn kill(&mut self, name: &str) {
        if let Some(at) = self.servers.iter().position(|server| server.name == name) {
            let mut server = self.servers.remove(at);
            // It may have ended by itself.
            let _ = server.child.kill().await;
        }
    }

    /// Runs a command of the client as `name` and waits for its end; gives what it printed.
    pub async fn client(
        &self,
        name: &str,
        args: &[&str],
        password: Option<&str>,
    ) -> Result<String, FleetError> {
        let ended = self.try_client(name, args, password).await?;
        if ended.code != Some(0) {
            return Err(FleetError::Program {
                program: format!("confab {}", args[0]),
                what: format!("exit code {:?}: {}", ended.code, ended.stderr.trim()),
            });
        }
        Ok(ended.stdout)
    }

    /// The same, however it ends.
    pub async fn try_client(
        &self,
        name: &str,
        args: &[&str],
        password: Option<&str>,
    ) -> Result<Ended, FleetError> {
        let mut command = self.client_command(name);
        command.args(args);
        if let Some(password) = password {
            command.env("CONFAB_PASSWORD", password);
        }
        self.output(&format!("confab {}", args[0]), &mut command)
            .await
    }

    /// Starts `confab join` as `name`.
    pub fn join(&self, name: &str, args: &[&str]) -> Result<Call, FleetError> {
        let mut command = self.client_command(name);
        command.arg("--json").arg("join").args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = self.spawn("confab", &mut command)?;
        let stdout = child.stdout.take().expect("standard output was piped");
        let mut stdin = child.stdin.take().expect("standard input was piped");
        let (input, mut pieces) = unbounded_channel::<Vec<u8>>();
        tokio::spawn(async move {
            while let Some(piece) = pieces.recv().await {
                // A call that ends early does not want the rest.
                if stdin.write_all(&piece).await.is_err() {
                    return;
                }
            }
        });
        Ok(Call {
            name: name.to_owned(),
            child,
            input: Some(input),
            lines: BufReader::new(stdout).lines(),
            events: Vec::new(),
        })
    }

    /// Ends control and relay in order, the last started first.
    pub async fn end(mut self) -> Result<(), FleetError> {
        while let Some(mut server) = self.servers.pop() {
            let status = end(&mut server.child).await;
            if !status.is_some_and(|status| status.success()) {
                return Err(FleetError::Program {
                    program: server.name.to_owned(),
                    what: format!("did not end in order when told to ({status:?})"),
                });
            }
        }
        Ok(())
    }

    fn identity_dir(&self) -> PathBuf {
        self.scratch.join("relay")
    }

    fn data_dir(&self) -> PathBuf {
        self.scratch.join("control")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.kill_on_drop(true).stdin(Stdio::null());
        command
    }

    fn client_command(&self, name: &str) -> Command {
        let mut command = self.command("confab");
        // In the environment, so that a test may say otherwise on the command line.
        command
            .env("CONFAB_SERVER", self.control.to_string())
            .env("CONFAB_CONFIG_DIR", self.scratch.join(name))
            .env("CONFAB_CA", self.data_dir().join("ca.crt"));
        command
    }

    fn spawn(&self, program: &str, command: &mut Command) -> Result<Child, FleetError> {
        command.spawn().map_err(|error| FleetError::Start {
            program: self.programs.join(program),
            error,
        })
    }

    /// Starts a server and waits until it says where it listens.
    async fn serve(
        &mut self,
        program: &'static str,
        args: &[&str],
    ) -> Result<SocketAddr, FleetError> {
        let log = self.scratch.join(format!("{program}.log"));
        let log_file = std::fs::File::create(&log).map_err(|error| FleetError::File {
            file: log.clone(),
            error,
        })?;
        let mut command = self.command(program);
        command.args(args).stdout(Stdio::piped()).stderr(log_file);
        let mut child = self.spawn(program, &mut command)?;
        let stdout = child.stdout.take().expect("standard output was piped");
        self.servers.push(Server {
            name: program,
            child,
        });
        let mut lines = BufReader::new(stdout).lines();
        let address = async {
            while let Ok(Some(line)) = lines.next_line().await {
                let rest = line.strip_prefix("listening on ");
                let word = rest.and_then(|rest| rest.split_whitespace().next());
                if let Some(address) = word.and_then(|word| word.parse().ok()) {
                    return Some(address);
                }
            }
            None
        };
        let address = tokio::time::timeout(DEADLINE, address).await.ok().flatten();
        // What it prints later is of no interest, but a full pipe would stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        address.ok_or_else(|| FleetError::Program {
            program: program.to_owned(),
            what: format!(
                "did not start; its log: {}",
                std::fs::read_to_string(&log).unwrap_or_default()
            ),
        })
    }

    async fn output(&self, name: &str, command: &mut Command) -> Result<Ended, FleetError> {
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
}

impl Call {
    /// Reads on until an event of this name comes.
    pub async fn wait_for(&mut self, event: &str) -> Result<Value, FleetError> {
        self.wait_until(event, |_| true).await
    }

    /// Reads on until an event of this name comes that `is_it`.
    pub async fn wait_until(
        &mut self,
        event: &str,
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<Value, FleetError> {
        loop {
            let line = tokio::time::timeout(DEADLINE, self.lines.next_line()).await;
            let Ok(Ok(Some(line))) = line else {
                return Err(self.failed(format!(
                    "no event {event:?} came; so far: {:?}",
                    self.events
                )));
            };
            let Ok(value) = serde_json::from_str::<Value>(&line) else {
                return Err(self.failed(format!("printed what is no JSON: {line}")));
            };
            self.events.push(value.clone());
            match value["event"].as_str() {
                Some(name) if name == event && is_it(&value) => return Ok(value),
                Some("error") => return Err(self.failed(value["message"].to_string())),
                _ => {}
            }
        }
    }

    /// An event that came before.
    pub fn event(&self, name: &str) -> Option<&Value> {
        self.events.iter().find(|event| event["event"] == name)
    }

    /// Gives the call more of its standard input.
    pub fn feed(&mut self, bytes: &[u8]) {
        if let Some(input) = &self.input {
            // A call that has ended does not want it.
            let _ = input.send(bytes.to_vec());
        }
    }

    /// Ends the call's standard input.
    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// Tells the call to leave, reads on to its last event and waits for its end.
    pub async fn leave(&mut self) -> Result<Value, FleetError> {
        terminate(&self.child);
        self.finish().await
    }

    /// Reads on to the last event and waits for the end.
    pub async fn finish(&mut self) -> Result<Value, FleetError> {
        let left = self.wait_for("left").await?;
        let status = tokio::time::timeout(DEADLINE, self.child.wait()).await;
        match status {
            Ok(Ok(status)) if status.success() => Ok(left),
            other => Err(self.failed(format!("did not end in order: {other:?}"))),
        }
    }

    fn failed(&self, what: String) -> FleetError {
        FleetError::Program {
            program: format!("confab join as {}", self.name),
            what,
        }
    }
}

async fn end(child: &mut Child) -> Option<ExitStatus> {
    terminate(child);
    match tokio::time::timeout(END_DEADLINE, child.wait()).await {
        Ok(status) => status.ok(),
        Err(_) => {
            let _ = child.kill().await;
            None
        }
    }
}

/// Asks a program to end, as an operator would.
fn terminate(child: &Child) {
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok())
        && let Some(id) = rustix::process::Pid::from_raw(id)
    {
        // It may have ended by itself meanwhile.
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    }
}
