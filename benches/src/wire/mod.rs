//! A network that can fail: passes datagrams on between those who send to it and a server behind it.
//!
//! Each sender has a flow, which the server sees under a port of its own, as behind a NAT.

mod owner;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// The largest datagram that passes.
const MAX_DATAGRAM: usize = 2048;

/// The senders that a fault applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    Everyone,
    /// The process with this id, by whatever sockets it has: Linux alone.
    Process(u32),
}

/// A wire to one server. It passes datagrams on until it is dropped.
#[derive(Debug)]
pub struct Wire {
    /// Where to send to.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    front: UdpSocket,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The server; `None` until it is known.
    to: Option<SocketAddr>,
    cut: HashSet<Scope>,
    /// True when a sender's datagrams pass now.
    passes: HashMap<SocketAddr, bool>,
    flows: HashMap<SocketAddr, Flow>,
}

/// A sender's way to the server.
#[derive(Debug)]
struct Flow {
    back: Arc<UdpSocket>,
    task: JoinHandle<()>,
}

impl Wire {
    /// A wire on a free port of 127.0.0.1 that leads nowhere yet.
    pub async fn new() -> io::Result<Self> {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = front.local_addr()?;
        let shared = Arc::new(Shared {
            front,
            state: Mutex::default(),
        });
        let task = tokio::spawn(pass_there(Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            task,
        })
    }

    /// From now on it leads to `server`.
    pub fn lead_to(&self, server: SocketAddr) {
        let mut state = self.shared.lock();
        state.to = Some(server);
        state.flows.clear();
    }

    /// Nothing passes any more, neither there nor back.
    pub fn cut(&self, scope: Scope) {
        let mut state = self.shared.lock();
        state.cut.insert(scope);
        state.passes.clear();
    }

    pub fn mend(&self, scope: Scope) {
        let mut state = self.shared.lock();
        state.cut.remove(&scope);
        state.passes.clear();
    }

    /// The server sees the sender under another port from the next datagram on, and what it sends to the old one is lost.
    pub fn rebind(&self, scope: Scope) {
        let ports = ports(scope);
        let moves = |sender: &SocketAddr| ports.as_ref().is_none_or(|p| p.contains(&sender.port()));
        self.shared.lock().flows.retain(|sender, _| !moves(sender));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.lock().flows.clear();
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True when datagrams from and to `sender` pass now.
    fn passes(&self, sender: SocketAddr) -> bool {
        let mut state = self.lock();
        if let Some(passes) = state.passes.get(&sender) {
            return *passes;
        }
        let is_cut =
            |scope: &Scope| ports(*scope).is_none_or(|ports| ports.contains(&sender.port()));
        let passes = !state.cut.iter().any(is_cut);
        state.passes.insert(sender, passes);
        passes
    }

    /// The sender's way to the server, made when there is none.
    async fn flow(self: &Arc<Self>, sender: SocketAddr) -> io::Result<Option<Arc<UdpSocket>>> {
        let to = {
            let state = self.lock();
            if let Some(flow) = state.flows.get(&sender) {
                return Ok(Some(Arc::clone(&flow.back)));
            }
            state.to
        };
        let Some(to) = to else {
            return Ok(None);
        };
        let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        back.connect(to).await?;
        let back = Arc::new(back);
        let task = tokio::spawn(pass_back(Arc::clone(self), sender, Arc::clone(&back)));
        let flow = Flow {
            back: Arc::clone(&back),
            task,
        };
        self.lock().flows.insert(sender, flow);
        Ok(Some(back))
    }
}

/// The ports of those; `None` for all.
fn ports(scope: Scope) -> Option<HashSet<u16>> {
    match scope {
        Scope::Everyone => None,
        Scope::Process(id) => Some(owner::ports_of(id)),
    }
}

async fn pass_there(shared: Arc<Shared>) {
    let mut buffer = [0; MAX_DATAGRAM];
    loop {
        // An error is what a former datagram met; the next one may pass.
        let Ok((length, sender)) = shared.front.recv_from(&mut buffer).await else {
            continue;
        };
        if !shared.passes(sender) {
            continue;
        }
        if let Ok(Some(back)) = shared.flow(sender).await {
            // A server that is not there loses it, as any network does.
            let _ = back.send(&buffer[..length]).await;
        }
    }
}

async fn pass_back(shared: Arc<Shared>, sender: SocketAddr, back: Arc<UdpSocket>) {
    let mut buffer = [0; MAX_DATAGRAM];
    loop {
        match back.recv(&mut buffer).await {
            Ok(length) if shared.passes(sender) => {
                let _ = shared.front.send_to(&buffer[..length], sender).await;
            }
            // Nobody listens at the server's port: said once for each datagram that went there.
            Ok(_) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_millis(200);
    const DEADLINE: Duration = Duration::from_secs(20);

    struct Pair {
        wire: Wire,
        server: UdpSocket,
        client: UdpSocket,
    }

    impl Pair {
        async fn new() -> Self {
            let wire = Wire::new().await.expect("a wire");
            let server = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
            wire.lead_to(server.local_addr().expect("it is bound"));
            let client = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
            client.connect(wire.address).await.expect("connected");
            Self {
                wire,
                server,
                client,
            }
        }

        /// The port under which the server sees the client; `None` when nothing gets through.
        async fn ask(&self, wait: Duration) -> Option<u16> {
            let mut buffer = [0; 8];
            self.client.send(b"there").await.expect("sent");
            let arrived = tokio::time::timeout(wait, self.server.recv_from(&mut buffer)).await;
            let (_, from) = arrived.ok()?.expect("received");
            self.server.send_to(b"back", from).await.expect("sent");
            let answered = tokio::time::timeout(wait, self.client.recv(&mut buffer)).await;
            assert_eq!(answered.ok()?.expect("received"), 4);
            Some(from.port())
        }
    }

    #[tokio::test]
    async fn datagrams_pass_in_both_directions() {
        let pair = Pair::new().await;
        let port = pair.ask(DEADLINE).await.expect("it passes");
        assert_eq!(
            pair.ask(DEADLINE).await,
            Some(port),
            "a flow keeps its port"
        );
    }

    #[tokio::test]
    async fn a_cut_wire_passes_nothing_until_it_is_mended() {
        let pair = Pair::new().await;
        pair.wire.cut(Scope::Everyone);
        assert_eq!(pair.ask(SOON).await, None);
        pair.wire.mend(Scope::Everyone);
        assert!(pair.ask(DEADLINE).await.is_some());
    }

    #[tokio::test]
    async fn a_rebound_flow_comes_from_another_port() {
        let pair = Pair::new().await;
        let before = pair.ask(DEADLINE).await.expect("it passes");
        pair.wire.rebind(Scope::Everyone);
        let after = pair.ask(DEADLINE).await.expect("it passes");
        assert_ne!(before, after);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_cut_process_is_cut_off_and_others_are_not() {
        let pair = Pair::new().await;
        pair.wire.cut(Scope::Process(1));
        assert!(pair.ask(DEADLINE).await.is_some());
        pair.wire.cut(Scope::Process(std::process::id()));
        assert_eq!(pair.ask(SOON).await, None);
        pair.wire.mend(Scope::Process(std::process::id()));
        assert!(pair.ask(DEADLINE).await.is_some());
    }
}
