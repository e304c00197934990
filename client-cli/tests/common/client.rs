//! The real client, without a terminal or at one.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::Authority;

/// No machine is so slow that a step takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A person's computer: a config directory, and public authorities.
pub struct Client {
    home: tempfile::TempDir,
}

/// A client that ran to its end.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A client at a terminal.
pub struct Terminal {
    child: Child,
    keyboard: File,
    shown: mpsc::Receiver<Vec<u8>>,
    screen: String,
}

impl Client {
    /// A computer whose only public authority is `public`.
    pub fn new(public: &Authority) -> Self {
        let home = tempfile::tempdir().unwrap();
        let pem = public.certificate.pem();
        std::fs::write(home.path().join("public.pem"), pem).unwrap();
        Self { home }
    }

    pub fn path(&self) -> &Path {
        self.home.path()
    }

    /// The file of known servers; empty when there is none.
    pub fn known_servers(&self) -> String {
        std::fs::read_to_string(self.known_servers_file()).unwrap_or_default()
    }

    pub fn known_servers_file(&self) -> PathBuf {
        self.home.path().join("config/known_servers")
    }

    /// A command for the server, with the password in the environment.
    pub fn command(&self, server: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_confab"));
        command
            .args(["--server", server])
            .args(args)
            .env_clear()
            .env("CONFAB_CONFIG_DIR", self.home.path().join("config"))
            .env("CONFAB_PASSWORD", "correct horse battery")
            .env("CONFAB_NEW_PASSWORD", "another horse battery")
            .env("SSL_CERT_FILE", self.home.path().join("public.pem"))
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end, without a terminal.
    pub async fn run(&self, server: &str, args: &[&str]) -> Ended {
        run(self.command(server, args)).await
    }

    /// Starts it at a terminal.
    pub fn at_terminal(&self, server: &str, args: &[&str]) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let line = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        let end = |line: &File| Stdio::from(OwnedFd::from(line.try_clone().unwrap()));
        let mut command = self.command(server, args);
        command
            .stdin(end(&line))
            .stdout(end(&line))
            .stderr(end(&line));
        let child = command.spawn().unwrap();
        // Only the child has the terminal now, so that its end is the screen's.
        drop((command, line));
        let keyboard = File::from(master);
        let mut screen = keyboard.try_clone().unwrap();
        let (to, shown) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                if to.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal {
            child,
            keyboard,
            shown,
            screen: String::new(),
        }
    }
}

pub async fn run(mut command: Command) -> Ended {
    let running = tokio::task::spawn_blocking(move || {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        child.unwrap().wait_with_output().unwrap()
    });
    let output = tokio::time::timeout(PATIENCE, running)
        .await
        .unwrap()
        .unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Terminal {
    /// Waits until the screen shows `text`.
    pub async fn shows(&mut self, text: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.screen.contains(text) {
            assert!(Instant::now() < until, "the screen shows {:?}", self.screen);
            self.look();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for its end: the exit code, and all that was on the screen.
    pub async fn ends(mut self) -> (Option<i32>, String) {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            self.look();
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "the screen shows {:?}", self.screen);
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        // What was written last may still be on its way.
        while let Ok(bytes) = self.shown.recv_timeout(Duration::from_millis(500)) {
            self.screen.push_str(&String::from_utf8_lossy(&bytes));
        }
        (status.code(), std::mem::take(&mut self.screen))
    }

    fn look(&mut self) {
        for bytes in self.shown.try_iter() {
            self.screen.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
