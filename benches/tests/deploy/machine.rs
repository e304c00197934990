//! A machine of its own for packages: systemd on a copy of this one's files, in namespaces. Nothing of it stays.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A machine that has not started after this time does not.
const BOOT_DEADLINE: Duration = Duration::from_secs(60);
/// Time limit for an event on the machine.
const DEADLINE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(50);

/// The programs that it needs, with the Debian packages that have them.
const TOOLS: &[(&str, &str)] = &[
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("ip", "iproute2"),
    ("apt-get", "apt"),
    ("deb-systemd-invoke", "init-system-helpers"),
];

/// A machine that runs.
pub struct Machine {
    unshare: Child,
    /// Its first process, as this machine numbers it.
    init: u32,
}

impl Machine {
    /// Starts a machine that sees the folder `shared`; gives the reason if this one cannot.
    pub fn start(folder: &Path, shared: &Path) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("packages can be installed by root alone".to_owned());
        }
        if !Path::new("/lib/systemd/systemd").exists() {
            return Err("there is no systemd on this machine".to_owned());
        }
        if let Some((tool, package)) = TOOLS.iter().find(|(tool, _)| !is_there(tool)) {
            return Err(format!("there is no {tool} on this machine ({package})"));
        }
        let boot = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deploy/boot");
        // It ends with this process, however that ends.
        let unshare = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--fork"])
            .args(["--kill-child=KILL", "--mount", "--pid", "--net", "--uts"])
            .args(["--ipc", "--cgroup"])
            .arg(boot)
            .args([folder, shared])
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| format!("namespaces: {error}"))?;
        let mut machine = Self { unshare, init: 0 };
        machine.wait_for_systemd()?;
        Ok(machine)
    }

    fn wait_for_systemd(&mut self) -> Result<(), String> {
        let give_up = Instant::now() + BOOT_DEADLINE;
        while Instant::now() < give_up {
            if let Ok(Some(status)) = self.unshare.try_wait() {
                return Err(format!("a machine in namespaces does not start: {status}"));
            }
            let id = self.unshare.id();
            let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
            let init = children.ok().and_then(|ids| ids.trim().parse().ok());
            if let Some(init) = init {
                self.init = init;
                let is_systemd = std::fs::read_to_string(format!("/proc/{init}/comm"))
                    .is_ok_and(|name| name.trim() == "systemd");
                if is_systemd {
                    let state = self.command("systemctl").arg("is-system-running").output();
                    let state = state.map(|output| output.stdout).unwrap_or_default();
                    if [&b"running\n"[..], b"degraded\n"].contains(&state.as_slice()) {
                        return Ok(());
                    }
                }
            }
            std::thread::sleep(INTERVAL);
        }
        Err("systemd does not start in namespaces".to_owned())
    }

    /// A program there, by root.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.init.to_string(), "--all", "--wd=/", "--"])
            .arg(program)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null());
        command
    }

    /// Runs a line of words there.
    pub fn run(&self, line: &str) -> Output {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().unwrap());
        command.args(words).output().unwrap()
    }

    /// Runs a line of words there, which has to end well; gives what it printed.
    pub fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        let (said, complained) = (text(&output.stdout), text(&output.stderr));
        if !output.status.success() {
            let journal = text(&self.run("journalctl --no-pager --lines 60").stdout);
            panic!("{line}: {}\n{said}\n{complained}\n{journal}", output.status);
        }
        said
    }

    /// Runs a line of words there again and again until it prints `expected`.
    pub fn until(&self, line: &str, expected: &str) -> String {
        let give_up = Instant::now() + DEADLINE;
        loop {
            let output = self.run(line);
            let said = text(&output.stdout);
            if said.contains(expected) {
                return said;
            }
            let complained = text(&output.stderr);
            if Instant::now() >= give_up {
                let journal = text(&self.run("journalctl --no-pager --lines 60").stdout);
                panic!("{line} does not print {expected:?}: {said}\n{complained}\n{journal}");
            }
            std::thread::sleep(INTERVAL);
        }
    }

    /// A file there, under a path that this machine can read.
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.init)).join(path.trim_start_matches('/'))
    }

    /// True if a file or folder is at the path.
    pub fn has(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    /// A property of a unit, as `systemctl show` gives it.
    pub fn property(&self, unit: &str, property: &str) -> String {
        let said = self.ok(&format!(
            "systemctl show --property={property} --value {unit}"
        ));
        said.trim().to_owned()
    }

    /// A line of /proc/PID/status of a service's main process.
    pub fn status_of(&self, unit: &str, field: &str) -> String {
        let id = self.property(unit, "MainPID");
        let status = self.ok(&format!("cat /proc/{id}/status"));
        let field = format!("{field}:");
        let line = status.lines().find_map(|line| line.strip_prefix(&field));
        line.unwrap_or_default().trim().to_owned()
    }

    /// The log of a unit.
    pub fn log(&self, unit: &str) -> String {
        self.ok(&format!("journalctl --no-pager --unit {unit}"))
    }

    /// Writes a program into `folder` that runs `program` of this machine in that one's network.
    pub fn in_its_network(&self, program: &Path, folder: &Path) {
        let name = program.file_name().unwrap();
        let net = format!("--net=/proc/{}/ns/net", self.init);
        let script = format!(
            "#!/bin/sh\nexec nsenter {net} -- {} \"$@\"\n",
            program.display()
        );
        let path = folder.join(name);
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its end is that of all processes there.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

fn is_there(tool: &str) -> bool {
    let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let mut paths = folders.iter().map(|folder| Path::new(folder).join(tool));
    paths.any(|path| path.exists())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
