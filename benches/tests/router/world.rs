//! A home, its router, and a network outside; the programs, each in its place.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use confab_benches::fleet::{Programs, Users};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::common::programs;
use super::fake::{INSIDE, OUTSIDE, Protocol, Router};
use super::namespaces::Host;

/// A server that was told to end does so within this time.
const END: Duration = Duration::from_secs(10);
/// Time limit for what follows from an event.
const DEADLINE: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(50);

pub(crate) struct World {
    pub(crate) router: Router,
    scratch: tempfile::TempDir,
    home: Host,
    outside: Host,
    _at_router: Host,
}

/// A server in the home, and what it prints.
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl World {
    /// A router that speaks these protocols and gives external ports by so much above those that are wished. `None` where no namespaces can
    /// be made; then it has been said why.
    pub(crate) fn new(speaks: &[Protocol], shift: u16) -> Option<Self> {
        let (home, at_router, outside) = (Host::new()?, Host::new()?, Host::new()?);
        let (inside_address, outside_address) = (format!("{INSIDE}/24"), format!("{OUTSIDE}/24"));
        home.cable(
            ("lan", &["192.168.7.7/24"]),
            &at_router,
            ("lan", &[&inside_address]),
        );
        outside.cable(
            ("wan", &["203.0.113.50/24"]),
            &at_router,
            ("wan", &[&outside_address]),
        );
        home.ip(&format!("route add default via {INSIDE}"));
        Some(Self {
            router: Router::start(&at_router, speaks, shift),
            scratch: tempfile::tempdir().unwrap(),
            home,
            outside,
            _at_router: at_router,
        })
    }

    /// A server with a relay inside, on the usual ports.
    pub(crate) fn serve(&self, flags: &[&str]) -> Server {
        let mut command = Command::new(self.programs_at(&self.home).join("confab-control"));
        command
            .args(["serve", "--with-relay", "--data-dir"])
            .arg(self.data())
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let read = BufReader::new(child.stdout.take().unwrap()).lines();
        let (lines_to, lines) = channel();
        std::thread::spawn(move || {
            for line in read.map_while(Result::ok) {
                // The test may have ended.
                let _ = lines_to.send(line);
            }
        });
        Server {
            child,
            lines,
            said: Vec::new(),
        }
    }

    pub(crate) fn users_at_home(&self, server: &str) -> Users {
        self.users(&self.home, server)
    }

    pub(crate) fn users_outside(&self, server: &str) -> Users {
        self.users(&self.outside, server)
    }

    /// Waits until control tells clients such addresses of its relay.
    pub(crate) fn relay_is_told(&self, is_it: impl Fn(&[&str]) -> bool) {
        let give_up = Instant::now() + DEADLINE;
        loop {
            let output = Command::new(self.programs_at(&self.home).join("confab-control"))
                .args(["status", "--json", "--data-dir"])
                .arg(self.data())
                .args(["--node", "127.0.0.1:4433"])
                .output()
                .unwrap();
            let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let addresses = status["relays"][0]["addresses"].as_array();
            let addresses = addresses.into_iter().flatten().filter_map(Value::as_str);
            let addresses: Vec<&str> = addresses.collect();
            if !addresses.is_empty() && is_it(&addresses) {
                return;
            }
            assert!(Instant::now() < give_up, "{status} {output:?}");
            std::thread::sleep(INTERVAL);
        }
    }

    fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    fn users(&self, host: &Host, server: &str) -> Users {
        let programs = Programs::new(&self.programs_at(host));
        Users::new(
            &programs,
            self.scratch.path(),
            &self.data().join("ca.crt"),
            server,
        )
    }

    /// A folder of programs that run at that host.
    fn programs_at(&self, host: &Host) -> PathBuf {
        let folder = self.scratch.path().join(format!("at-{}", host.name()));
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["confab", "confab-control"] {
            let path = folder.join(name);
            if !path.exists() {
                write_script(&path, host.name(), &programs().join(name));
            }
        }
        folder
    }
}

impl Server {
    /// Waits until it prints a line that begins so, and gives the line.
    pub(crate) fn wait_for(&mut self, begin: &str, within: Duration) -> String {
        let give_up = Instant::now() + within;
        loop {
            if let Some(line) = self.said.iter().find(|line| line.starts_with(begin)) {
                return line.clone();
            }
            let left = give_up.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.said.push(line),
                Err(error) => panic!("no line {begin:?} ({error}): {:#?}", self.said),
            }
        }
    }

    /// The link in such a line.
    pub(crate) fn link(&mut self, begin: &str, within: Duration) -> String {
        let line = self.wait_for(begin, within);
        let link = line.split('\'').nth(1);
        link.unwrap_or_else(|| panic!("{line}")).to_owned()
    }

    pub(crate) fn has_said(&self, part: &str) -> bool {
        self.said.iter().any(|line| line.contains(part))
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(mut self) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
        let give_up = Instant::now() + END;
        while Instant::now() < give_up {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return;
            }
            std::thread::sleep(INTERVAL);
        }
        panic!("the server does not end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The server may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_script(path: &Path, host: &str, program: &Path) {
    let script = format!(
        "#!/bin/sh\nexec nsenter --net=/run/netns/{host} -- {} \"$@\"\n",
        program.display()
    );
    std::fs::write(path, script).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
