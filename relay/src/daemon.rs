//! The relay as a process: sockets, workers, links and what goes on between them.

mod error;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use confab_protocol::cluster::{BootId, LOAD_INTERVAL_MS};
use confab_protocol::wire::RelayLoad;
use rustls::pki_types::UnixTime;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, unbounded_channel};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::MissedTickBehavior;

use crate::core::Capacity;
use crate::core::Ended;
use crate::core::{Counters, DropCause, Registry};
use crate::flags::{Flags, Transmit};
use crate::identity::Identity;
use crate::io::{PortLock, UdpDriver, Waker, bind_group};
use crate::link::{EndedQueue, Hello, Link, NameInUse};
use crate::metrics::Figures;
use crate::tasks::{LongLived, Tasks};
use crate::workers::{Workers, worker_count};

pub use error::{Died, StartError};

/// Changes to rooms are collected for this time before packets see them.
const PUBLISH_DELAY: Duration = Duration::from_millis(5);
/// Interval in which unused memory is freed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Interval in which the worker threads are checked.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// Pause before the metrics server is started again.
const METRICS_PAUSE: Duration = Duration::from_secs(10);
/// Interval in which a relay that drains checks for sessions.
const DRAIN_INTERVAL: Duration = Duration::from_millis(20);
/// Shortest time between two lines of the log that say how many are left.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// A relay that runs.
pub struct Relay {
    addresses: Vec<SocketAddr>,
    public: watch::Sender<Vec<SocketAddr>>,
    identity: Arc<Identity>,
    registry: Arc<Registry>,
    counters: Vec<Arc<Counters>>,
    wakers: Arc<[Waker]>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    stop: Arc<AtomicBool>,
    tasks: Tasks,
    metrics: Option<SocketAddr>,
    linked: Arc<AtomicUsize>,
    /// Told when a control node wants the relay to drain.
    drain: Arc<Notify>,
    draining: watch::Sender<bool>,
    drain_time: Duration,
    /// Links say here that another relay has its name.
    name_in_use: (mpsc::Sender<NameInUse>, Receiver<NameInUse>),
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
    identity.check_time(UnixTime::now())?;
    let workers = worker_count(flags)?;
    let batch = usize::from(flags.batch);
    let buffer = flags.socket_buffer.0 as usize;
    let mut group = bind_group(&flags.listen, workers, batch, buffer)?;
    if flags.transmit == Transmit::Packet {
        UdpDriver::transmit_by_packet(&mut group.drivers, &group.addresses, buffer)?;
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
        public: watch::Sender::new(flags.public_address.clone()),
        identity,
        registry: Arc::new(registry),
        counters: started.counters,
        wakers: started.wakers,
        threads: started.threads,
        stop,
        tasks: Tasks::default(),
        metrics: None,
        linked: Arc::default(),
        drain: Arc::default(),
        draining: watch::Sender::new(false),
        drain_time: flags.drain_time,
        name_in_use: mpsc::channel(1),
        _port_locks: group.locks,
    };
    relay.spawn_tasks(flags, boot, ended_from);
    if let Some(address) = flags.metrics {
        let failed = |error| StartError::Metrics { address, error };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        relay.metrics = listener.local_addr().ok();
        let figures = Figures {
            counters: relay.counters.clone(),
            heartbeats: started.heartbeats,
            registry: Arc::clone(&relay.registry),
            linked: Arc::clone(&relay.linked),
            draining: relay.draining.subscribe(),
        };
        relay.tasks.spawn(MetricsServer {
            listener,
            figures: Arc::new(figures),
        });
    }
    Ok(relay)
}

impl Relay {
    /// The addresses that it listens on, with the real ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses that clients are told; if empty, those that it listens on. Control nodes learn a change at once.
    pub fn public_addresses(&self) -> watch::Sender<Vec<SocketAddr>> {
        self.public.clone()
    }

    /// Its identity, which can be read again.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// The address of its metrics, with the real port.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Runs until a first of `signals` or control requests the end. Then drains, and sends a bye to each session that is left
    /// after the drain time or at a second signal.
    ///
    /// # Errors
    ///
    /// If a part of the relay stops by itself.
    pub async fn run(mut self, mut signals: Receiver<()>) -> Result<(), Died> {
        let mut watch = tokio::time::interval(WATCH_INTERVAL);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = signals.recv() => break,
                () = self.drain.notified() => break,
                failed = self.tasks.failed() => return Err(failed.into()),
                Some(in_use) = self.name_in_use.1.recv() => return Err(in_use.into()),
                _ = watch.tick() => self.check_workers()?,
            }
        }
        self.draining.send_replace(true);
        tokio::select! {
            () = self.everyone_left() => {}
            () = tokio::time::sleep(self.drain_time) => {}
            _ = signals.recv() => {}
        }
        let left = self.registry.sessions();
        if left > 0 {
            tracing::warn!(
                sessions = left,
                "sessions end here: no other relay has taken them over"
            );
        }
        self.tasks.end().await;
        self.registry.drain(Instant::now());
        self.stop.store(true, Ordering::Release);
        self.wakers.iter().for_each(Waker::wake);
        for (index, thread) in self.threads.into_iter().enumerate() {
            if !matches!(thread.join(), Ok(Ok(()))) {
                tracing::warn!(index, "a worker's thread ended with an error");
            }
        }
        log_counters(&self.counters);
        Ok(())
    }

    /// Waits until no session is left, and tells how many are.
    async fn everyone_left(&self) {
        let (mut told, mut tell_at) = (0, Instant::now());
        loop {
            let (left, now) = (self.registry.sessions(), Instant::now());
            if left == 0 {
                return;
            }
            if left != told && now >= tell_at {
                (told, tell_at) = (left, now + TELL_INTERVAL);
                tracing::info!(
                    sessions = left,
                    "draining: waiting for sessions to move to other relays; another signal ends at once"
                );
            }
            tokio::time::sleep(DRAIN_INTERVAL).await;
        }
    }

    fn check_workers(&mut self) -> Result<(), Died> {
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
            public: self.public.subscribe(),
            listen: self.addresses.clone(),
            workers: self.counters.len() as u32,
            max_sessions: flags.max_sessions,
            idle_timeout: flags.idle_timeout,
        };
        let mut queues = Vec::new();
        let has_linked = Arc::new(AtomicBool::new(false));
        for control in &flags.control {
            let ended = Arc::new(EndedQueue::default());
            queues.push(Arc::clone(&ended));
            self.tasks.spawn(Link {
                control: control.clone(),
                identity: Arc::clone(&self.identity),
                hello: hello.clone(),
                registry: Arc::clone(&self.registry),
                changed: Arc::clone(&changed),
                ended,
                load: load.clone(),
                linked: Arc::clone(&self.linked),
                drain: Arc::clone(&self.drain),
                has_linked: Arc::clone(&has_linked),
                name_in_use: self.name_in_use.0.clone(),
            });
        }
        self.tasks.spawn(Publisher {
            registry: Arc::clone(&self.registry),
            changed: Arc::clone(&changed),
            wakers: Arc::clone(&self.wakers),
        });
        self.tasks.spawn(EndedSessions {
            registry: Arc::clone(&self.registry),
            changed,
            ended,
            queues,
        });
        self.tasks.spawn(LoadMeter {
            registry: Arc::clone(&self.registry),
            counters: self.counters.clone(),
            draining: self.draining.subscribe(),
            load: load_to,
        });
        self.tasks.spawn(Sweeper {
            registry: Arc::clone(&self.registry),
        });
    }
}

/// Wakes the workers after a command, and publishes the rooms a little later, for all changes in between.
struct Publisher {
    registry: Arc<Registry>,
    changed: Arc<Notify>,
    wakers: Arc<[Waker]>,
}

impl LongLived for Publisher {
    fn name(&self) -> String {
        "the task that publishes rooms".to_owned()
    }

    async fn run(&mut self) {
        loop {
            self.wakers.iter().for_each(Waker::wake);
            tokio::time::sleep(PUBLISH_DELAY).await;
            self.registry.publish();
            self.changed.notified().await;
        }
    }
}

/// Reports to control the sessions that ended at a worker.
struct EndedSessions {
    registry: Arc<Registry>,
    changed: Arc<Notify>,
    ended: UnboundedReceiver<Ended>,
    queues: Vec<Arc<EndedQueue>>,
}

impl LongLived for EndedSessions {
    fn name(&self) -> String {
        "the task that tells of ended sessions".to_owned()
    }

    async fn run(&mut self) {
        while let Some(ended) = self.ended.recv().await {
            if let Some(ended) = self.registry.ended(Instant::now(), &ended) {
                self.queues.iter().for_each(|queue| queue.push(ended));
            }
            self.changed.notify_one();
        }
    }
}

/// Reports the load to control.
struct LoadMeter {
    registry: Arc<Registry>,
    counters: Vec<Arc<Counters>>,
    draining: watch::Receiver<bool>,
    load: watch::Sender<RelayLoad>,
}

/// The workers' counters at some time.
struct Counted {
    at: Instant,
    datagrams_in: u64,
    datagrams_out: u64,
    busy_ns: Vec<u64>,
}

impl LongLived for LoadMeter {
    fn name(&self) -> String {
        "the task that measures the load".to_owned()
    }

    async fn run(&mut self) {
        let mut ticks = tokio::time::interval(Duration::from_millis(LOAD_INTERVAL_MS));
        // After a stop of the process (SIGSTOP) missed ticks are skipped: rates use the time that passed.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = self.count();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Ok(()) = self.draining.changed() => {
                    self.load.send_modify(|load| load.draining = true);
                    continue;
                }
            }
            let now = self.count();
            self.load.send_replace(self.measure(&now, &before));
            before = now;
        }
    }
}

impl LoadMeter {
    fn count(&self) -> Counted {
        let sum = |of: fn(&Counters) -> u64| self.counters.iter().map(|c| of(c)).sum();
        Counted {
            at: Instant::now(),
            datagrams_in: sum(|counters| counters.datagrams_in.get()),
            datagrams_out: sum(|counters| counters.datagrams_out.get()),
            busy_ns: self.counters.iter().map(|c| c.busy_ns.get()).collect(),
        }
    }

    fn measure(&self, now: &Counted, before: &Counted) -> RelayLoad {
        let passed = (now.at - before.at).max(Duration::from_millis(1));
        let per_second = |now: u64, before: u64| {
            (now.saturating_sub(before) as f64 / passed.as_secs_f64()) as u64
        };
        let busy = now.busy_ns.iter().zip(&before.busy_ns);
        let busiest = busy.map(|(now, before)| now.saturating_sub(*before)).max();
        let busy_percent = u128::from(busiest.unwrap_or(0)) * 100 / passed.as_nanos();
        RelayLoad {
            sessions: self.registry.sessions() as u32,
            rooms: self.registry.rooms() as u32,
            datagrams_in_per_s: per_second(now.datagrams_in, before.datagrams_in),
            datagrams_out_per_s: per_second(now.datagrams_out, before.datagrams_out),
            busy_percent: busy_percent.min(100) as u32,
            draining: *self.draining.borrow(),
        }
    }
}

/// Frees unused memory.
struct Sweeper {
    registry: Arc<Registry>,
}

impl LongLived for Sweeper {
    fn name(&self) -> String {
        "the task that forgets what is over".to_owned()
    }

    async fn run(&mut self) {
        let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.registry.sweep(Instant::now());
        }
    }
}

/// Serves the metrics over HTTP.
struct MetricsServer {
    listener: std::net::TcpListener,
    figures: Arc<Figures>,
}

impl LongLived for MetricsServer {
    fn name(&self) -> String {
        "the server of metrics".to_owned()
    }

    async fn run(&mut self) {
        loop {
            let listener = self.listener.try_clone().and_then(TcpListener::from_std);
            match listener {
                Ok(listener) => {
                    confab_telemetry::serve(Arc::new(listener), Arc::clone(&self.figures)).await;
                }
                // Without metrics a relay is as good as with them.
                Err(error) => tracing::error!("cannot serve metrics: {error}"),
            }
            tokio::time::sleep(METRICS_PAUSE).await;
        }
    }
}

fn died(index: usize, thread: JoinHandle<io::Result<()>>) -> Died {
    let cause = match thread.join() {
        Ok(Ok(())) => "it ended without being told to".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it panicked".to_owned(),
    };
    Died::Worker { index, cause }
}

/// Writes all counters to the log, in one line.
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
