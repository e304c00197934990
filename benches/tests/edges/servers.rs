//! Control and relay start, serve and end with any kind of output, read their certificates again at SIGHUP, and end at a signal
//! whatever their files do.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use confab_benches::load::metrics;
use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::world::{
    PATIENCE, ended_by, full, named_pipe, pipe_without_reader, program, redirected, run,
    small_pipe, tell,
};

/// Time limit for the end of a server without clients.
const SOON: Duration = Duration::from_secs(10);

/// Any free port.
const ANYWHERE: &str = "127.0.0.1:0";

/// The command that starts control.
fn control(data: &Path, listen: &str) -> Command {
    let mut command = program("confab-control");
    command.args(["serve", "--listen", listen, "--log-level", "trace"]);
    command.arg("--data-dir").arg(data);
    command
}

/// Waits until control runs. Returns its address from its state file.
async fn running(data: &Path) -> String {
    let address = async || {
        let state = fs::read(data.join("control.json")).ok()?;
        let state: serde_json::Value = serde_json::from_slice(&state).ok()?;
        Some(state["listen"].as_str()?.to_owned())
    };
    eventually("control runs", address).await
}

async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn operator(data: &Path, args: &[&str]) -> String {
    let mut command = program("confab-control");
    command.args(args).arg("--data-dir").arg(data);
    let (code, said) = run(command.stdout(Stdio::piped())).await;
    assert_eq!(code, Some(0), "{args:?}: {said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn control_serves_with_any_kind_of_output() {
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let (_unread, unread) = small_pipe();
    let both = |to: &OwnedFd| {
        let mut command = control(&data, ANYWHERE);
        command
            .stdout(to.try_clone().unwrap())
            .stderr(to.try_clone().unwrap());
        command
    };
    let mut to_full = control(&data, ANYWHERE);
    to_full.stdout(full()).stderr(full());
    let commands = [
        ("full", to_full),
        ("unread", both(&unread)),
        ("gone", both(&pipe_without_reader())),
        (
            "closed",
            redirected(&control(&data, ANYWHERE), "<&- >&- 2>&-"),
        ),
    ];
    for (name, mut command) in commands {
        let mut server = command.spawn().unwrap();
        drop(command);
        running(&data).await;
        for _ in 0..3 {
            assert!(
                operator(&data, &["status"]).await.contains("alive"),
                "{name}"
            );
        }
        let ending = ended_by(&mut server, Signal::TERM).await;
        assert_eq!(ending.code, Some(0), "{name}");
        assert!(ending.after < SOON, "{name}: {ending:?}");
    }
}

/// A linked relay.
struct Relay {
    child: Child,
    metrics: std::net::SocketAddr,
}

async fn relay(control: &str, identity: &Path, log: Stdio) -> Relay {
    use tokio::io::AsyncBufReadExt as _;
    let mut command = program("confab-relay");
    command
        .args(["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"])
        .args(["--log-level", "trace", "--control", control, "--identity"])
        .arg(identity);
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let metrics = loop {
        let line = lines.next_line().await.unwrap().expect("it says where");
        if let Some(rest) = line.strip_prefix("metrics on http://") {
            break rest.split('/').next().unwrap().parse().unwrap();
        }
    };
    // Dropping `lines` closes the read end of its standard output.
    let relay = Relay { child, metrics };
    relay.is_linked(true).await;
    relay
}

impl Relay {
    async fn is_linked(&self, linked: bool) {
        eventually("the link", async || {
            let told = metrics::read(self.metrics).await.ok()?;
            (told.gauge("control_links") == u64::from(linked)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_log_reader_is_gone_links_to_control_again() {
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let identities = ["one", "two"].map(|name| scratch.path().join(name));
    for (name, folder) in ["one", "two"].iter().zip(&identities) {
        let out = folder.to_str().unwrap();
        operator(&data, &["relay-identity", name, "--out", out]).await;
    }
    let mut server = control(&data, ANYWHERE).spawn().unwrap();
    let address = running(&data).await;
    let (read, write) = small_pipe();
    let (_never_read, unread) = small_pipe();
    let mut relays = [
        relay(&address, &identities[0], write.into()).await,
        relay(&address, &identities[1], unread.into()).await,
    ];
    drop(read);
    for _ in 0..2 {
        assert_eq!(ended_by(&mut server, Signal::TERM).await.code, Some(0));
        for relay in &relays {
            relay.is_linked(false).await;
        }
        server = control(&data, &address).spawn().unwrap();
        running(&data).await;
        for relay in &relays {
            relay.is_linked(true).await;
        }
    }
    for relay in &mut relays {
        let ending = ended_by(&mut relay.child, Signal::TERM).await;
        assert_eq!(ending.code, Some(0));
        assert!(ending.after < SOON, "{ending:?}");
    }
    assert_eq!(ended_by(&mut server, Signal::TERM).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reloads_certificates_and_ends_no_server() {
    let scratch = tempfile::tempdir().unwrap();
    let (data, identity) = (scratch.path().join("data"), scratch.path().join("relay"));
    let out = identity.to_str().unwrap();
    operator(&data, &["relay-identity", "one", "--out", out]).await;
    let log = scratch.path().join("control.log");
    let mut command = control(&data, ANYWHERE);
    command.stderr(fs::File::create(&log).unwrap());
    let mut server = command.spawn().unwrap();
    let address = running(&data).await;
    let mut relay = relay(&address, &identity, Stdio::null()).await;

    // After the revocation the relay cannot link until it has read a new identity.
    operator(&data, &["revoke-relay", "one"]).await;
    relay.is_linked(false).await;
    fs::write(identity.join("relay.crt"), "no certificate").unwrap();
    tell(&relay.child, Signal::HUP);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(relay.child.try_wait().unwrap().is_none(), "it goes on");
    operator(&data, &["relay-identity", "one", "--out", out]).await;
    tell(&relay.child, Signal::HUP);
    relay.is_linked(true).await;

    tell(&server, Signal::HUP);
    eventually("control says so", async || {
        let log = fs::read_to_string(&log).ok()?;
        log.contains("certificates reloaded").then_some(())
    })
    .await;
    assert!(operator(&data, &["status"]).await.contains("alive"));
    for child in [&mut relay.child, &mut server] {
        assert_eq!(ended_by(child, Signal::TERM).await.code, Some(0));
    }
}

/// Puts a file in the place of another that whoever reads it waits for, as on a network's disk that does not answer.
fn hang(file: &Path) {
    fs::remove_file(file).unwrap();
    named_pipe(file);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_whose_files_do_not_answer_end_at_a_signal() {
    let scratch = tempfile::tempdir().unwrap();
    let (data, identity) = (scratch.path().join("data"), scratch.path().join("relay"));
    let out = identity.to_str().unwrap();
    operator(&data, &["relay-identity", "one", "--out", out]).await;
    let mut server = control(&data, ANYWHERE).spawn().unwrap();
    let address = running(&data).await;
    let mut linked = relay(&address, &identity, Stdio::null()).await;

    // While they run: every SIGHUP has the files read again.
    hang(&identity.join("relay.key"));
    hang(&data.join("server.key"));
    for child in [&mut linked.child, &mut server] {
        for _ in 0..3 {
            tell(child, Signal::HUP);
        }
        let ending = ended_by(child, Signal::TERM).await;
        assert_eq!(ending.code, Some(0));
        assert!(ending.after < SOON, "{ending:?}");
    }

    // At the start.
    hang(&data.join("token.key"));
    let mut relay = program("confab-relay");
    relay.args(["--listen", ANYWHERE, "--control", &address, "--identity"]);
    relay.arg(&identity);
    for mut command in [control(&data, ANYWHERE), relay] {
        let mut child = command.spawn().unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(child.try_wait().unwrap().is_none(), "it waits");
        let ending = ended_by(&mut child, Signal::TERM).await;
        assert_eq!(ending.code, Some(0));
        assert!(ending.after < SOON, "{ending:?}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn signals_work_that_whoever_started_the_server_had_blocked() {
    let scratch = tempfile::tempdir().unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let data = scratch.path().join(format!("{signal:?}"));
        let server = control(&data, ANYWHERE);
        let mut command = Command::new("env");
        command.kill_on_drop(true).stdout(Stdio::null());
        command.stderr(Stdio::null());
        command.arg("--block-signal=INT,TERM,HUP");
        command.arg(server.as_std().get_program());
        command.args(server.as_std().get_args());
        let mut child = command.spawn().unwrap();
        running(&data).await;
        let ending = ended_by(&mut child, signal).await;
        assert_eq!(ending.code, Some(0), "{signal:?}");
        assert!(ending.after < SOON, "{ending:?}");
    }
}
