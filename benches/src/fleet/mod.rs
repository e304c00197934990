//! The real programs: started on free loopback ports, watched through what they print, ended with the harness.
//!
//! * `programs`: where they are, and servers that were started;
//! * `users`: users with a client each;
//! * `call`: a participation that runs; `counts`: what it counts of others;
//! * [`Fleet`]: the least that makes a server, control and a relay.

mod call;
mod counts;
mod programs;
mod users;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use call::Call;
pub use counts::{Count, Counts};
pub use programs::{Process, Programs};
pub use users::Users;

/// A program that does not say within this time what it should has failed.
const DEADLINE: Duration = Duration::from_secs(60);

const CONTROL: &str = "confab-control";
const RELAY: &str = "confab-relay";

/// Why the fleet does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A program is not there or cannot be started.
    #[error("cannot start {}: {error}; build the workspace first", .program.display())]
    Start {
        program: PathBuf,
        error: std::io::Error,
    },
    /// A program ended or said something else.
    #[error("{program}: {what}")]
    Program { program: String, what: String },
    /// A file could not be written.
    #[error("cannot write {}: {error}", .file.display())]
    File {
        file: PathBuf,
        error: std::io::Error,
    },
}

/// A program that ran to its end.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Control and a relay on this machine, and the folder in which everything of theirs is.
pub struct Fleet {
    programs: Programs,
    scratch: PathBuf,
    pub control: SocketAddr,
    control_flags: Vec<String>,
    servers: Vec<Process>,
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
            programs: Programs::new(programs),
            scratch: scratch.to_owned(),
            control: SocketAddr::from(([127, 0, 0, 1], 0)),
            control_flags,
            servers: Vec::new(),
        };
        fleet.start_control().await?;
        let mut command = fleet.programs.command(CONTROL);
        command.args(["relay-identity", "demo", "--out"]);
        command.arg(fleet.identity_dir());
        command.arg("--data-dir").arg(fleet.data_dir());
        let name = "confab-control relay-identity";
        fleet.programs.done(name, &mut command).await?;
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
        control.id()
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
            self.servers.remove(at).kill().await;
        }
    }

    /// Ends control and relay in order, the last started first.
    pub async fn end(mut self) -> Result<(), FleetError> {
        while let Some(server) = self.servers.pop() {
            server.end().await?;
        }
        Ok(())
    }

    pub fn users(&self) -> Users {
        Users::new(
            &self.programs,
            &self.scratch,
            &self.authority(),
            self.control,
        )
    }

    /// The file with the certificate of control's authority.
    pub fn authority(&self) -> PathBuf {
        self.data_dir().join("ca.crt")
    }

    fn identity_dir(&self) -> PathBuf {
        self.scratch.join("relay")
    }

    /// Control's data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.scratch.join("control")
    }

    async fn serve(&mut self, program: &str, args: &[&str]) -> Result<SocketAddr, FleetError> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let log = self.scratch.join(format!("{program}.log"));
        let server = self.programs.serve(program, program, &args, &log).await?;
        let address = server.address;
        self.servers.push(server);
        Ok(address)
    }
}
