//! Users, each with a folder of its own for the client's files.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::{Call, Ended, FleetError, Programs};

/// The client in the folder of the programs.
const CLIENT: &str = "confab";

/// How users reach a server.
#[derive(Debug, Clone)]
pub struct Users {
    programs: Programs,
    /// Below it everyone has a folder.
    homes: PathBuf,
    /// How the server has to prove its identity.
    ca: PathBuf,
    /// Where it is, HOST:PORT.
    pub server: String,
    /// The client that they use: a name in the folder of the programs, or a path.
    program: PathBuf,
    /// Variables of the environment that it gets.
    variables: Vec<(String, String)>,
    /// True if the machine runs other programs first.
    nice: bool,
}

impl Users {
    /// Users whose folders are below `homes`, at a server under the authority in the file `ca`.
    pub fn new(programs: &Programs, homes: &Path, ca: &Path, server: impl ToString) -> Self {
        Self {
            programs: programs.clone(),
            homes: homes.to_owned(),
            ca: ca.to_owned(),
            server: server.to_string(),
            program: CLIENT.into(),
            variables: Vec::new(),
            nice: false,
        }
    }

    /// The same people at computers of their own: what they start does not take the time of the calls that are measured on this
    /// machine. A program that starts computes for tens of milliseconds, and a call bears a wait of 20.
    pub fn elsewhere(self) -> Self {
        Self { nice: true, ..self }
    }

    /// The same people at computers with another client, which gets these variables in its environment.
    pub fn with(mut self, program: &Path, variables: &[(String, String)]) -> Self {
        program.clone_into(&mut self.program);
        self.variables = variables.to_vec();
        self
    }

    /// Where the client of `name` keeps what it keeps.
    pub fn home(&self, name: &str) -> PathBuf {
        self.homes.join(name)
    }

    /// Runs a command of the client as `name` and waits for its end, which has to be good; gives what it printed.
    pub async fn client(
        &self,
        name: &str,
        args: &[&str],
        password: Option<&str>,
    ) -> Result<String, FleetError> {
        let mut command = self.command(name, args, password);
        let program = format!("confab {}", args[0]);
        self.programs.done(&program, &mut command).await
    }

    /// Makes an account for `name`.
    pub async fn register(&self, name: &str, password: &str) -> Result<(), FleetError> {
        let email = format!("{name}@example.org");
        let args = ["register", name, "--email", &email];
        let args = [&args[..], &["--birthday", "1990-01-31"]].concat();
        self.client(name, &args, Some(password)).await.map(drop)
    }

    /// Runs a command of the client as `name` and waits for its end, whatever that is.
    pub async fn try_client(
        &self,
        name: &str,
        args: &[&str],
        password: Option<&str>,
    ) -> Result<Ended, FleetError> {
        let mut command = self.command(name, args, password);
        let program = format!("confab {}", args[0]);
        self.programs.output(&program, &mut command).await
    }

    /// Starts `confab join` as `name`.
    pub fn join(&self, name: &str, args: &[&str]) -> Result<Call, FleetError> {
        let args = [&["--json", "join"], args].concat();
        let mut command = self.command(name, &args, None);
        Call::start(&self.programs, name, &mut command)
    }

    fn command(&self, name: &str, args: &[&str], password: Option<&str>) -> Command {
        let mut command = match self.nice {
            true => self.programs.nice_command(&self.program),
            false => self.programs.command(&self.program),
        };
        // In the environment, so that a test may say otherwise on the command line.
        command
            .args(args)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .env("CONFAB_SERVER", &self.server)
            .env("CONFAB_CONFIG_DIR", self.home(name))
            .env("CONFAB_CA", &self.ca);
        if let Some(password) = password {
            command.env("CONFAB_PASSWORD", password);
        }
        command
    }
}
