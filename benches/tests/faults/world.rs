//! Control nodes, relays, and networks between them that can fail.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use confab_benches::fleet::{Process, Programs, Users};
use confab_benches::load::metrics::{self, RelayMetrics};
use confab_benches::wire::Wire;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::common::{PASSWORD, programs};

/// Worlds at a time: what is measured in one is not to be disturbed by many others.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Longest time for something that is no measurement, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often something is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What a world is to be like.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Control nodes.
    pub nodes: usize,
    /// Relays.
    pub relays: usize,
    /// The database of all nodes, as `--store` takes it; a file when `None`, which is for one node.
    pub store: Option<String>,
    /// Whether everything goes by wires that can be cut.
    pub wires: bool,
    /// More flags of every node.
    pub control_flags: Vec<String>,
    /// More flags of every relay.
    pub relay_flags: Vec<String>,
}

/// The servers, and the people who use them.
pub struct World {
    /// Everything that is written is below it.
    pub scratch: tempfile::TempDir,
    pub programs: Programs,
    pub nodes: Vec<Node>,
    pub relays: Vec<Relay>,
    plan: Plan,
    _turn: SemaphorePermit<'static>,
}

/// A control node, which may run or not.
pub struct Node {
    name: String,
    data: PathBuf,
    /// Where it listens, the same at each start.
    listen: SocketAddr,
    /// Clients reach it by it.
    pub wire: Option<Wire>,
    pub process: Option<Process>,
}

/// A relay, which may run or not.
pub struct Relay {
    name: String,
    identity: PathBuf,
    /// Where it listens, the same at each start.
    listen: SocketAddr,
    /// Clients reach it by it.
    pub wire: Option<Wire>,
    /// It reaches each node by them.
    pub links: Vec<Wire>,
    pub process: Option<Process>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            nodes: 1,
            relays: 1,
            store: None,
            wires: false,
            control_flags: Vec::new(),
            relay_flags: Vec::new(),
        }
    }
}

impl World {
    /// Starts everything.
    pub async fn start(plan: Plan) -> Self {
        let turn = TURNS.acquire().await.unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let mut world = Self {
            programs: Programs::new(&programs()),
            scratch,
            nodes: Vec::new(),
            relays: Vec::new(),
            plan,
            _turn: turn,
        };
        for at in 0..world.plan.nodes {
            world.add_node(at).await;
        }
        for at in 0..world.plan.relays {
            world.add_relay(at).await;
        }
        world.linked().await;
        world
    }

    /// Starts a node that does not run, where it was before.
    pub async fn start_node(&mut self, at: usize) {
        let node = &self.nodes[at];
        let mut args = words(&["serve", "--node", &node.name]);
        args.extend(words(&["--listen", &node.listen.to_string()]));
        args.extend(words(&["--data-dir", &node.data.to_string_lossy()]));
        if let Some(store) = &self.plan.store {
            args.extend(words(&["--store", store, "--store-replication", "1"]));
        }
        if let Some(wire) = &node.wire {
            args.extend(words(&["--public-address", &wire.address.to_string()]));
            // The nodes' own network is another one.
            if node.listen.port() != 0 {
                args.extend(words(&["--cluster-address", &node.listen.to_string()]));
            }
        }
        args.extend(self.plan.control_flags.iter().cloned());
        let log = self.scratch.path().join(format!("{}.log", node.name));
        let started = self
            .programs
            .serve("confab-control", &node.name, &args, &log);
        let process = started.await.unwrap();
        let node = &mut self.nodes[at];
        node.listen = process.address;
        if let Some(wire) = &node.wire {
            wire.lead_to(process.address);
        }
        node.process = Some(process);
    }

    /// Starts a relay that does not run, where it was before.
    pub async fn start_relay(&mut self, at: usize) {
        let relay = &self.relays[at];
        let mut args = words(&["--listen", &relay.listen.to_string()]);
        args.extend(words(&["--identity", &relay.identity.to_string_lossy()]));
        args.extend(words(&["--metrics", "127.0.0.1:0", "--workers", "1"]));
        // Everyone in the room is to be heard, however many there are.
        args.extend(words(&["--speakers", "64"]));
        for (at, node) in self.nodes.iter().enumerate() {
            let link = relay.links.get(at).map_or(node.listen, |link| link.address);
            args.extend(words(&["--control", &link.to_string()]));
        }
        if let Some(wire) = &relay.wire {
            args.extend(words(&["--public-address", &wire.address.to_string()]));
        }
        args.extend(self.plan.relay_flags.iter().cloned());
        let log = self.scratch.path().join(format!("{}.log", relay.name));
        let started = self
            .programs
            .serve("confab-relay", &relay.name, &args, &log);
        let process = started.await.unwrap();
        let relay = &mut self.relays[at];
        relay.listen = process.address;
        if let Some(wire) = &relay.wire {
            wire.lead_to(process.address);
        }
        relay.process = Some(process);
    }

    /// Users whose own server is the node `at`.
    pub fn users(&self, at: usize) -> Users {
        let node = &self.nodes[at];
        let server = node.wire.as_ref().map_or(node.listen, |wire| wire.address);
        let homes = self.scratch.path().join("users");
        Users::new(&self.programs, &homes, &self.authority(), server)
    }

    /// Gives everyone of `names` an account at the node `at`.
    pub async fn register(&self, at: usize, names: &[&str]) {
        let users = self.users(at);
        for name in names {
            register(&users, name).await;
        }
    }

    /// Signs somebody in at another node too, as on another computer.
    pub async fn log_in(&self, at: usize, name: &str) {
        let users = self.users(at);
        users
            .client(name, &["login", name], Some(PASSWORD))
            .await
            .unwrap();
    }

    /// Runs a command of the client, which has to end well.
    pub async fn ok(&self, at: usize, name: &str, args: &[&str]) -> String {
        self.users(at).client(name, args, None).await.unwrap()
    }

    /// Runs a command until it ends well; how long that took.
    pub async fn ok_at_last(&self, at: usize, name: &str, args: &[&str]) -> Duration {
        let began = Instant::now();
        loop {
            let users = self.users(at).elsewhere();
            let ended = users.try_client(name, args, None).await;
            match ended {
                Ok(ended) if ended.code == Some(0) => return began.elapsed(),
                refused if began.elapsed() > PATIENCE => panic!("{args:?}: {refused:?}"),
                _ => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// The relay that has media sessions: where the room is.
    pub async fn relay_with_sessions(&self) -> usize {
        let began = Instant::now();
        loop {
            for (at, relay) in self.relays.iter().enumerate() {
                if relay.process.is_some() && relay.told().await.gauge("sessions") > 0 {
                    return at;
                }
            }
            assert!(began.elapsed() < PATIENCE, "no relay has a session");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until no relay that runs has anything left.
    pub async fn relays_are_empty(&self) -> Duration {
        let began = Instant::now();
        for relay in self.relays.iter().filter(|relay| relay.process.is_some()) {
            loop {
                let told = relay.told().await;
                let left = (told.gauge("sessions"), told.gauge("rooms"));
                if left == (0, 0) {
                    break;
                }
                let patient = began.elapsed() < PATIENCE;
                assert!(
                    patient,
                    "{} still has sessions, rooms: {left:?}",
                    relay.name
                );
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        began.elapsed()
    }

    /// Waits until every relay that runs is linked with every node that runs.
    pub async fn linked(&self) {
        let nodes = self.nodes.iter().filter(|node| node.process.is_some());
        let nodes = nodes.count() as u64;
        let began = Instant::now();
        for relay in self.relays.iter().filter(|relay| relay.process.is_some()) {
            while relay.told().await.gauge("control_links") < nodes {
                assert!(began.elapsed() < PATIENCE, "{} is not linked", relay.name);
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    /// The folder of a node.
    pub fn data_folder(&self, at: usize) -> PathBuf {
        self.nodes[at].data.clone()
    }

    /// What has to vouch for every node.
    pub fn authority(&self) -> PathBuf {
        self.nodes[0].data.join("ca.crt")
    }

    /// Ends everything in order.
    pub async fn end(mut self) {
        self.end_servers().await;
    }

    /// Ends control nodes and relays in order; what they have written stays.
    pub async fn end_servers(&mut self) {
        let relays = self
            .relays
            .iter_mut()
            .filter_map(|relay| relay.process.take());
        let nodes = self.nodes.iter_mut().filter_map(|node| node.process.take());
        for process in relays.chain(nodes).collect::<Vec<_>>() {
            process.end().await.unwrap();
        }
    }

    async fn add_node(&mut self, at: usize) {
        let data = self.scratch.path().join(format!("node-{at}"));
        if at > 0 {
            let mut command = self.programs.command("confab-control");
            command
                .args(["cluster-keys", "--ca-key", "--out"])
                .arg(&data);
            command.arg("--data-dir").arg(&self.nodes[0].data);
            self.programs
                .done("cluster-keys", &mut command)
                .await
                .unwrap();
        }
        self.nodes.push(Node {
            name: format!("node-{at}"),
            data,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            wire: self.new_wire().await,
            process: None,
        });
        self.start_node(at).await;
    }

    async fn add_relay(&mut self, at: usize) {
        let name = format!("relay-{at}");
        let identity = self.scratch.path().join(&name);
        let mut command = self.programs.command("confab-control");
        command
            .args(["relay-identity", &name, "--out"])
            .arg(&identity);
        command.arg("--data-dir").arg(&self.nodes[0].data);
        self.programs
            .done("relay-identity", &mut command)
            .await
            .unwrap();
        let mut links = Vec::new();
        for node in &self.nodes {
            if let Some(link) = self.new_wire().await {
                link.lead_to(node.listen);
                links.push(link);
            }
        }
        self.relays.push(Relay {
            name,
            identity,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            wire: self.new_wire().await,
            links,
            process: None,
        });
        self.start_relay(at).await;
    }

    async fn new_wire(&self) -> Option<Wire> {
        match self.plan.wires {
            true => Some(Wire::new().await.unwrap()),
            false => None,
        }
    }
}

impl Relay {
    /// Its figures now.
    pub async fn told(&self) -> RelayMetrics {
        let process = self.process.as_ref().expect("it runs");
        let address = process.metrics.expect("it was started with --metrics");
        metrics::read(address).await.unwrap()
    }

    /// Ends it at once.
    pub async fn kill(&mut self) {
        self.process.take().expect("it runs").kill().await;
    }
}

impl Node {
    /// Ends it at once.
    pub async fn kill(&mut self) {
        self.process.take().expect("it runs").kill().await;
    }
}

/// Gives somebody an account.
pub async fn register(users: &Users, name: &str) {
    users.register(name, PASSWORD).await.unwrap();
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}
