//! The relay as a process: sockets, workers, links and what goes on between them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use confab_protocol::cluster::{BootId, LOAD_INTERVAL_MS};
use confab_protocol::wire::RelayLoad;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::core::registry::Capacity;
use crate::core::worker::Ended;
use crate::core::{Counters, DropCause, MediaEnded, Registry};
use crate::flags::{Flags, Transmit};
use crate::identity::{Identity, IdentityError};
use crate::io::{BindError, PortLock, TransmitError, UdpDriver, Waker, bind_group};
use crate::link::{Hello, Link};
use crate::metrics::Figures;
use crate::workers::{Workers, worker_count};

/// Changes to rooms are gathered for so long before packets see them.
const PUBLISH_DELAY: Duration = Duration::from_millis(5);
/// How often memory that is of no more use is given back.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How often the workers are looked after.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// How often a relay that drains looks whether anybody is left.
const DRAIN_INTERVAL: Duration = Duration::from_millis(20);

/// Why the relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No packet sockets.
    #[error(transparent)]
    Transmit(#[from] TransmitError),
    /// No identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No thread.
    #[error("cannot start a worker thread: {0}")]
    Thread(io::Error),
    /// No socket for metrics.
    #[error("cannot listen on TCP {address} for metrics: {error}; choose another with --metrics")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// A flag's value makes no sense.
    #[error("{0}")]
    Flags(String),
}

/// A worker stopped by itself: the process has to end, for its rooms are served by nobody.
#[derive(Debug, thiserror::Error)]
#[error("worker {index} stopped: {cause}")]
pub struct WorkerDied {
    /// Which.
    pub index: usize,
    /// Why.
    pub cause: String,
}

/// A relay that runs.
pub struct Relay {
    addresses: Vec<SocketAddr>,
    identity: Arc<Identity>,
    registry: Arc<Registry>,
    counters: Vec<Arc<Counters>>,
    wakers: Arc<[Waker]>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
    metrics: Option<SocketAddr>,
    linked: Arc<AtomicUsize>,
    /// Told when a control node wants the relay to drain.
    drain: Arc<Notify>,
    draining: watch::Sender<bool>,
    drain_time: Duration,
    _port_locks: Vec<PortLock>,
}

/// Starts sockets, workers and links. To be called inside a tokio runtime.
pub async fn start(flags: &Flags) -> Result<Relay, StartError> {
    let folder = flags.identity.as_deref().ok_or_else(|| {
        StartError::Flags(
            "--identity is missing: the folder that `confab-control relay-identity` writes"
                .to_owned(),
        )
    })?;
    let identity = Arc::new(Identity::load(folder)?);
    let workers = worker_count(flags)?;
    let batch = usize::from(flags.batch);
    let mut group = bind_group(&flags.listen, workers, batch, flags.socket_buffer)?;
    if flags.transmit == Transmit::Packet {
        UdpDriver::transmit_by_packet(&mut group.drivers, &group.addresses, flags.socket_buffer)?;
    }

    let stop = Arc::new(AtomicBool::new(false));
    let (ended_to, ended_from) = unbounded_channel();
    let started = Workers::start(flags, group.drivers, &stop, &ended_to)?;
    let boot = BootId(rand::random());
    let capacity = Capacity {
        sessions: flags.max_sessions,
        rooms: flags.max_rooms,
        members: flags.max_members,
        share: flags.room_share,
    };
    let registry = Registry::new(boot, capacity, started.mailboxes, rand::random());
    let mut relay = Relay {
        addresses: group.addresses,
        identity,
        registry: Arc::new(registry),
        counters: started.counters,
        wakers: started.wakers,
        threads: started.threads,
        stop,
        tasks: JoinSet::new(),
        metrics: None,
        linked: Arc::default(),
        drain: Arc::default(),
        draining: watch::Sender::new(false),
        drain_time: flags.drain_time,
        _port_locks: group.locks,
    };
    relay.spawn_tasks(flags, boot, ended_from);
    if let Some(address) = flags.metrics {
        let failed = |error| StartError::Metrics { address, error };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        relay.metrics = listener.local_addr().ok();
        let figures = Figures {
            counters: relay.counters.clone(),
            heartbeats: started.heartbeats,
            registry: Arc::clone(&relay.registry),
            linked: Arc::clone(&relay.linked),
            draining: relay.draining.subscribe(),
        };
        let serving = confab_telemetry::serve(listener, Arc::new(figures));
        relay.tasks.spawn(serving);
    }
    Ok(relay)
}

impl Relay {
    /// Where it listens, with the real ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Its identity, which can be read again.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Where its metrics are, with the real port.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Runs until it is told to end by a first of `signals` or by control, drains, and says bye to everyone who is left after the drain
    /// time or at a second signal. Or runs until a worker dies.
    pub async fn run(mut self, mut signals: Receiver<()>) -> Result<(), WorkerDied> {
        let mut watch = tokio::time::interval(WATCH_INTERVAL);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = signals.recv() => break,
                () = self.drain.notified() => break,
                _ = watch.tick() => self.look_after_workers()?,
            }
        }
        self.draining.send_replace(true);
        let everyone_left = async {
            while self.registry.sessions() > 0 {
                tokio::time::sleep(DRAIN_INTERVAL).await;
            }
        };
        tokio::select! {
            () = everyone_left => {}
            () = tokio::time::sleep(self.drain_time) => {}
            _ = signals.recv() => {}
        }
        self.tasks.shutdown().await;
        self.registry.drain(Instant::now());
        self.stop.store(true, Ordering::Release);
        self.wakers.iter().for_each(Waker::wake);
        for (index, thread) in self.threads.into_iter().enumerate() {
            if !matches!(thread.join(), Ok(Ok(()))) {
                tracing::warn!(index, "a worker did not end in order");
            }
        }
        log_counters(&self.counters);
        Ok(())
    }

    fn look_after_workers(&mut self) -> Result<(), WorkerDied> {
        match self.threads.iter().position(JoinHandle::is_finished) {
            Some(index) => Err(died(index, self.threads.swap_remove(index))),
            None => Ok(()),
        }
    }

    fn spawn_tasks(&mut self, flags: &Flags, boot: BootId, ended: UnboundedReceiver<Ended>) {
        let changed = Arc::new(Notify::new());
        let (load_to, load) = watch::channel(RelayLoad::default());
        let hello = Hello {
            boot,
            region: flags.region.clone(),
            public: flags.public_address.clone(),
            listen: self.addresses.clone(),
            workers: self.counters.len() as u32,
            max_sessions: flags.max_sessions,
            idle_timeout: flags.idle_timeout,
        };
        let mut ended_to = Vec::new();
        for control in &flags.control {
            let (to, ended) = unbounded_channel();
            ended_to.push(to);
            let link = Link {
                control: control.clone(),
                identity: Arc::clone(&self.identity),
                hello: hello.clone(),
                registry: Arc::clone(&self.registry),
                changed: Arc::clone(&changed),
                ended,
                load: load.clone(),
                linked: Arc::clone(&self.linked),
                drain: Arc::clone(&self.drain),
            };
            self.tasks.spawn(link.run());
        }
        self.tasks.spawn(publish_changes(
            Arc::clone(&self.registry),
            Arc::clone(&changed),
            Arc::clone(&self.wakers),
        ));
        self.tasks.spawn(pass_ended_on(
            Arc::clone(&self.registry),
            changed,
            ended,
            ended_to,
        ));
        self.tasks.spawn(measure_load(
            Arc::clone(&self.registry),
            self.counters.clone(),
            self.draining.subscribe(),
            load_to,
        ));
    }
}

/// Wakes the workers for what a command changed, and publishes the rooms a little later, for all that gathered.
async fn publish_changes(registry: Arc<Registry>, changed: Arc<Notify>, wakers: Arc<[Waker]>) {
    loop {
        changed.notified().await;
        wakers.iter().for_each(Waker::wake);
        tokio::time::sleep(PUBLISH_DELAY).await;
        registry.publish();
    }
}

async fn pass_ended_on(
    registry: Arc<Registry>,
    changed: Arc<Notify>,
    mut ended: UnboundedReceiver<Ended>,
    links: Vec<UnboundedSender<MediaEnded>>,
) {
    while let Some(ended) = ended.recv().await {
        if let Some(ended) = registry.ended(Instant::now(), &ended) {
            for link in &links {
                // A link's task lives as long as this one.
                let _ = link.send(ended);
            }
        }
        changed.notify_one();
    }
}

async fn measure_load(
    registry: Arc<Registry>,
    counters: Vec<Arc<Counters>>,
    mut draining: watch::Receiver<bool>,
    load: watch::Sender<RelayLoad>,
) {
    let interval = Duration::from_millis(LOAD_INTERVAL_MS);
    let mut ticks = tokio::time::interval(interval);
    // After a stop of the process (SIGSTOP) missed ticks are not made up for: rates use the time that passed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut swept = Instant::now();
    let mut measured = Instant::now();
    let (mut before_in, mut before_out) = (0, 0);
    let mut busy_before = vec![0; counters.len()];
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Ok(()) = draining.changed() => {
                load.send_modify(|load| load.draining = true);
                continue;
            }
        }
        let mut busiest = 0;
        for (counters, before) in counters.iter().zip(&mut busy_before) {
            let busy = counters.busy_ns.get();
            busiest = busiest.max(busy - *before);
            *before = busy;
        }
        let passed = measured.elapsed().max(Duration::from_millis(1));
        measured = Instant::now();
        let rate = |count: u64| (count as f64 / passed.as_secs_f64()) as u64;
        let total_in: u64 = counters.iter().map(|c| c.datagrams_in.get()).sum();
        let total_out: u64 = counters.iter().map(|c| c.datagrams_out.get()).sum();
        load.send_replace(RelayLoad {
            sessions: registry.sessions() as u32,
            rooms: registry.rooms() as u32,
            datagrams_in_per_s: rate(total_in - before_in),
            datagrams_out_per_s: rate(total_out - before_out),
            busy_percent: (u128::from(busiest) * 100 / passed.as_nanos()).min(100) as u32,
            draining: *draining.borrow(),
        });
        (before_in, before_out) = (total_in, total_out);
        if swept.elapsed() >= SWEEP_INTERVAL {
            swept = Instant::now();
            registry.sweep(swept);
        }
    }
}

fn died(index: usize, thread: JoinHandle<io::Result<()>>) -> WorkerDied {
    let cause = match thread.join() {
        Ok(Ok(())) => "it ended without being told to".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it panicked".to_owned(),
    };
    WorkerDied { index, cause }
}

/// What the relay has done, as one line of the log.
fn log_counters(counters: &[Arc<Counters>]) {
    let mut totals = String::new();
    for (at, (name, _)) in Counters::names().enumerate() {
        let sum: u64 = counters.iter().filter_map(|c| c.values().nth(at)).sum();
        totals.push_str(&format!(" {name}={sum}"));
    }
    for cause in DropCause::ALL {
        let sum: u64 = counters.iter().map(|c| c.dropped(*cause)).sum();
        if sum > 0 {
            totals.push_str(&format!(" dropped.{}={sum}", cause.name()));
        }
    }
    tracing::info!("served:{totals}");
}
