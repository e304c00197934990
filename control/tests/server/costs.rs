//! Measures and prints the memory and processor time that the most expensive connections cost the real program.
//!
//! `cargo test -p confab-control --test server costs -- --ignored --nocapture --test-threads 1`

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use confab_control::client_queues::MAX_QUEUED;
use confab_control::tls::authority::Authority;
use confab_protocol::cluster;
use confab_protocol::control::{self, CLUSTER_SERVER_NAME};
use confab_protocol::wire::{self, Visibility, request::Kind};
use quinn::{Connection, Endpoint, TransportConfig, VarInt};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::floods::{hello, openings_with};
use crate::harness::{Client, LOCALHOST, mute, settings};
use crate::relay::FakeRelay;

/// Number of connections of each kind.
const CONNECTIONS: usize = 200;
/// Devices of one account in one room.
const DEVICES: usize = 8;
/// Flow-control window of a client that reads nothing, in bytes.
const TAKEN: u32 = 512;
const SLUG: &str = "crowded";

/// A server in a process of its own.
struct Program {
    child: Child,
    address: SocketAddr,
    ca: PathBuf,
    folder: tempfile::TempDir,
}

#[derive(Clone, Copy)]
struct Use {
    /// Resident memory in KiB.
    resident: u64,
    /// Processor time in hundredths of a second.
    cpu: u64,
    at: Instant,
}

/// The program, in the folder above this test's.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    let program = folder.join("confab-control");
    assert!(
        program.is_file(),
        "confab-control is not built: `cargo build --workspace --bins` first, or `make test`"
    );
    program
}

impl Program {
    async fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new(program())
            .args(["serve", "--listen", "127.0.0.1:0", "--log-level", "error"])
            .args(["--login-burst", "100000", "--data-dir"])
            .arg(folder.path())
            .args(flags)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let state = folder.path().join(confab_control::STATE_FILE);
        let text = loop {
            match std::fs::read_to_string(&state) {
                Ok(text) if text.ends_with('\n') => break text,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let value = |name: &str| {
            let state: serde_json::Value = serde_json::from_str(&text).unwrap();
            state[name].as_str().unwrap().to_owned()
        };
        Self {
            child,
            address: value("listen").parse().unwrap(),
            ca: value("ca").into(),
            folder,
        }
    }

    fn now(&self) -> Use {
        let read = |name: &str| {
            std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
        };
        let status = read("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let resident = line.unwrap().split_whitespace().nth(1).unwrap();
        let stat = read("stat");
        let after_name = stat.rsplit(") ").next().unwrap();
        let fields: Vec<&str> = after_name.split(' ').collect();
        Use {
            resident: resident.parse().unwrap(),
            cpu: fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap(),
            at: Instant::now(),
        }
    }

    /// Starts a relay and waits until it is linked.
    async fn relay(&self) -> FakeRelay {
        let authority = Authority::open(self.folder.path()).unwrap();
        let now = confab_control::clock::Clock::System.now();
        let out = self.folder.path().join("relay");
        let files = authority.issue_relay(&"berlin".parse().unwrap(), &out, now);
        let files = files.unwrap();
        let chain = CertificateDer::pem_file_iter(&files.certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        let identity = (chain.map(Result::unwrap).collect(), key);
        let ca = CertificateDer::from_pem_file(&self.ca).unwrap();
        let settings = settings(ca, cluster::ALPN, Some(identity));
        let endpoint = Endpoint::client(SocketAddr::from((LOCALHOST, 0))).unwrap();
        let connecting = endpoint.connect_with(settings, self.address, CLUSTER_SERVER_NAME);
        FakeRelay::link_as(connecting.unwrap().await.unwrap(), [7; 16], 1000).await
    }

    fn settings(&self) -> quinn::ClientConfig {
        let ca = CertificateDer::from_pem_file(&self.ca).unwrap();
        settings(ca, control::ALPN, None)
    }

    /// A client whose flow-control window is `credit` bytes.
    async fn connect(&self, from: [u8; 4], credit: u32) -> Option<Connection> {
        let mut settings = self.settings();
        let mut transport = TransportConfig::default();
        transport
            .stream_receive_window(VarInt::from_u32(credit))
            .keep_alive_interval(Some(Duration::from_secs(5)));
        settings.transport_config(Arc::new(transport));
        let endpoint = Endpoint::client(SocketAddr::from((from, 0))).unwrap();
        let connecting = endpoint.connect_with(settings, self.address, CLUSTER_SERVER_NAME);
        connecting.unwrap().await.ok()
    }

    fn report(&self, what: &str, count: usize, before: Use) {
        let now = self.now();
        let grown = now.resident.saturating_sub(before.resident);
        let cpu = (now.cpu - before.cpu) as f64 / 100.0;
        let took = before.at.elapsed().as_secs_f64();
        println!(
            "{what}: {count} in {took:.1} s; {grown} KiB more, {:.1} KiB each; {cpu:.2} s of a core, {:.3} ms each, {:.0} % of a core",
            grown as f64 / count as f64,
            cpu * 1000.0 / count as f64,
            cpu * 100.0 / took,
        );
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends all but the last byte of a request of `len` bytes.
async fn all_but_the_end(connection: &Connection, len: usize) -> Option<quinn::SendStream> {
    let opening = tokio::time::timeout(Duration::from_secs(1), connection.open_bi());
    let (mut send, _) = opening.await.ok()?.ok()?;
    let head = (len as u32).to_be_bytes();
    let body = vec![0x0a; len - 1];
    send.write_all(&head).await.ok()?;
    let writing = send.write_all(&body);
    tokio::time::timeout(Duration::from_secs(5), writing)
        .await
        .ok()?
        .ok()?;
    Some(send)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for a minute"]
async fn forged_handshakes_and_unauthenticated_connections() {
    let program = Program::start(&["--handshake-burst", "100000"]).await;
    let warm = program.connect(LOCALHOST, 1 << 20).await.unwrap();
    hello(&warm).await.unwrap();

    let openings = openings_with(program.settings(), 3000).await;
    let before = program.now();
    let sockets = [0; 16].map(|_| UdpSocket::bind(SocketAddr::from((LOCALHOST, 0))).unwrap());
    for (at, opening) in openings.iter().enumerate() {
        let socket = &sockets[at % sockets.len()];
        for datagram in opening {
            socket.send_to(datagram, program.address).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    program.report("forged handshakes", openings.len(), before);
    tokio::time::sleep(Duration::from_secs(12)).await;

    let before = program.now();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = program.connect(LOCALHOST, 1 << 20).await.unwrap();
        hello(&connection).await.unwrap();
        held.push(connection);
    }
    program.report("idle unauthenticated connections", CONNECTIONS, before);
    let mut unfinished = Vec::new();
    for connection in &held {
        for _ in 0..2 {
            unfinished.push(all_but_the_end(connection, 16_384).await.unwrap());
        }
    }
    program.report(
        "unauthenticated connections with two unfinished requests",
        CONNECTIONS,
        before,
    );
    drop((unfinished, held));

    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = program.now();
    let mut count = 0;
    while before.at.elapsed() < Duration::from_secs(5) {
        if let Some(connection) = program.connect([127, 0, 0, 2], 1 << 20).await {
            let _ = hello(&connection).await;
            count += 1;
        }
    }
    program.report("connections that come and go", count, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for a minute"]
async fn signed_in_connections() {
    let program = Program::start(&["--handshake-burst", "100000"]).await;
    let accounts = CONNECTIONS.div_ceil(DEVICES);
    let owner = Client::new(program.connect(LOCALHOST, 1 << 20).await.unwrap());
    owner.hello(1, 1).await.unwrap();
    owner.register("owner").await.unwrap();
    owner.create(SLUG, Visibility::Public).await;
    let mut tokens: Vec<Bytes> = Vec::new();
    for at in 0..accounts {
        let client = Client::new(program.connect(LOCALHOST, 1 << 20).await.unwrap());
        client.hello(1, 1).await.unwrap();
        tokens.push(
            client
                .register(&format!("account{at}"))
                .await
                .unwrap()
                .token,
        );
    }
    let before = program.now();
    let mut idle = Vec::new();
    for at in 0..CONNECTIONS {
        let client = Client::new(program.connect(LOCALHOST, 1 << 20).await.unwrap());
        client.hello(1, 1).await.unwrap();
        client.authenticate(&tokens[at / DEVICES]).await.unwrap();
        idle.push(client);
    }
    program.report("idle signed-in connections", CONNECTIONS, before);
    drop(idle);
    tokio::time::sleep(Duration::from_secs(2)).await;

    let relay = program.relay().await;
    let before = program.now();
    let mut held = Vec::new();
    for at in 0..CONNECTIONS {
        let connection = program.connect(LOCALHOST, TAKEN).await.unwrap();
        let client = Client::without_events(connection);
        client.hello(1, 1).await.unwrap();
        client.authenticate(&tokens[at / DEVICES]).await.unwrap();
        client.join(SLUG).await.unwrap();
        held.push(client);
    }
    program.report("joined participants", CONNECTIONS, before);
    // Each mute sends an event to every device of the account; one event more than the queue holds disconnects them.
    let mutes = (MAX_QUEUED - 3 * CONNECTIONS) / DEVICES;
    for at in 0..mutes {
        owner.done(mute(SLUG, "account0", at % 2 == 0)).await;
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    program.report("participants that read no events", CONNECTIONS, before);
    let mut tasks = tokio::task::JoinSet::new();
    for client in held {
        tasks.spawn(async move {
            let kind = Kind::ListMembers(wire::ListMembers {
                slug: SLUG.to_owned(),
                ..wire::ListMembers::default()
            });
            let mut open = Vec::new();
            // Responses that are not read, then requests that do not end.
            for _ in 0..16 {
                let opened = client.begin(kind.clone()).await;
                open.extend(opened);
            }
            let mut unfinished = Vec::new();
            for _ in 0..16 {
                unfinished.extend(all_but_the_end(&client.connection, 16_384).await);
            }
            (client, open, unfinished)
        });
    }
    let mut kept = Vec::new();
    while let Some(done) = tasks.join_next().await {
        kept.push(done.unwrap());
    }
    program.report(
        "participants that also finish no requests and read no responses",
        CONNECTIONS,
        before,
    );
    let stay = kept
        .iter()
        .filter(|(client, ..)| client.connection.close_reason().is_none());
    println!("{} of them are connected still", stay.count());
    drop((kept, relay));
    tokio::time::sleep(Duration::from_secs(2)).await;

    let before = program.now();
    let mut asked = 0;
    while owner
        .ask_bytes(&[0, 0, 0, 3, 0xba, 0x3e, 0])
        .await
        .is_some()
    {
        asked += 1;
    }
    program.report("requests as fast as they are answered", asked, before);
}
