//! The relay as a process: sockets, workers, links and what goes on between them.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use confab_protocol::cluster::{BootId, LOAD_INTERVAL_MS};
use confab_protocol::media::HopKey;
use confab_protocol::wire::RelayLoad;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::core::window::WindowControl;
use crate::core::worker::Ended;
use crate::core::worker::WorkerConfig;
use crate::core::{Counters, DropCause, MediaEnded, Registry, Worker};
use crate::flags::Flags;
use crate::io::threads::WorkerThread;
use crate::io::{BindError, Waker, bind_group};
use crate::link::{Hello, Identity, IdentityError, Link};
use crate::metrics::{self, Source};

/// Changes to rooms are gathered for so long before packets see them.
const PUBLISH_DELAY: Duration = Duration::from_millis(5);
/// How often memory that is of no more use is given back.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How often the workers are looked after.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// Most workers: a connection id names one by a byte.
const MAX_WORKERS: usize = 256;

/// Why the relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No socket.
    #[error(transparent)]
    Bind(#[from] BindError),
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
    address: SocketAddr,
    registry: Arc<Registry>,
    counters: Vec<Arc<Counters>>,
    wakers: Vec<Waker>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
    metrics: Option<SocketAddr>,
    linked: Arc<AtomicUsize>,
    _port_lock: UnixDatagram,
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
    let group = bind_group(flags.listen, workers, batch, flags.socket_buffer)?;

    let stop = Arc::new(AtomicBool::new(false));
    let (ended_to, ended_from) = unbounded_channel();
    let mut mailboxes = Vec::new();
    let mut counters = Vec::new();
    let mut wakers = Vec::new();
    let mut threads = Vec::new();
    for (index, driver) in group.drivers.into_iter().enumerate() {
        let (mailbox_to, mailbox) = mpsc::channel();
        mailboxes.push(mailbox_to);
        let counted = Arc::new(Counters::default());
        counters.push(Arc::clone(&counted));
        wakers.push(driver.waker());
        let thread = WorkerThread {
            worker: Worker::new(
                WorkerConfig {
                    index: index as u8,
                    buffers: flags.buffers as usize,
                    speakers: usize::from(flags.speakers),
                },
                Instant::now(),
                counted,
                HopKey::new(rand::random()),
            ),
            driver,
            mailbox,
            ended: ended_to.clone(),
            stop: Arc::clone(&stop),
            batch,
            window: WindowControl::new(flags.coalesce_min, flags.coalesce_max),
        };
        threads.push(thread.spawn(index).map_err(StartError::Thread)?);
    }

    let boot = BootId(rand::random());
    let registry = Arc::new(Registry::new(
        boot,
        flags.max_sessions,
        mailboxes,
        rand::random(),
    ));
    let mut relay = Relay {
        address: group.address,
        registry,
        counters,
        wakers,
        threads,
        stop,
        tasks: JoinSet::new(),
        metrics: None,
        linked: Arc::default(),
        _port_lock: group.lock,
    };
    relay.spawn_tasks(flags, boot, &identity, ended_from);
    if let Some(address) = flags.metrics {
        let failed = |error| StartError::Metrics { address, error };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        relay.metrics = listener.local_addr().ok();
        let source = Source {
            counters: relay.counters.clone(),
            registry: Arc::clone(&relay.registry),
            linked: Arc::clone(&relay.linked),
        };
        relay.tasks.spawn(metrics::serve(listener, source));
    }
    Ok(relay)
}

impl Relay {
    /// Where it listens, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its metrics are, with the real port.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Runs until `shutdown` is over, then says bye to everyone; or until a worker dies.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), WorkerDied> {
        let mut watch = tokio::time::interval(WATCH_INTERVAL);
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                _ = watch.tick() => {
                    if let Some(index) = self.threads.iter().position(JoinHandle::is_finished) {
                        return Err(died(index, self.threads.swap_remove(index)));
                    }
                }
            }
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

    fn spawn_tasks(
        &mut self,
        flags: &Flags,
        boot: BootId,
        identity: &Arc<Identity>,
        ended: UnboundedReceiver<Ended>,
    ) {
        let changed = Arc::new(Notify::new());
        let (load_to, load) = watch::channel(RelayLoad::default());
        let hello = Hello {
            boot,
            region: flags.region.clone(),
            addresses: flags.public_address.clone(),
            port: self.address.port(),
            workers: self.counters.len() as u32,
            max_sessions: flags.max_sessions,
        };
        let mut ended_to = Vec::new();
        for control in &flags.control {
            let (to, ended) = unbounded_channel();
            ended_to.push(to);
            let link = Link {
                control: control.clone(),
                identity: Arc::clone(identity),
                hello: hello.clone(),
                registry: Arc::clone(&self.registry),
                changed: Arc::clone(&changed),
                ended,
                load: load.clone(),
                linked: Arc::clone(&self.linked),
            };
            self.tasks.spawn(link.run());
        }
        self.tasks.spawn(publish_changes(
            Arc::clone(&self.registry),
            Arc::clone(&changed),
            self.wakers.clone(),
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
            load_to,
        ));
    }
}

/// Wakes the workers for what a command changed, and publishes the rooms a little later, for all that gathered.
async fn publish_changes(registry: Arc<Registry>, changed: Arc<Notify>, wakers: Vec<Waker>) {
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
    load: watch::Sender<RelayLoad>,
) {
    let interval = Duration::from_millis(LOAD_INTERVAL_MS);
    let mut ticks = tokio::time::interval(interval);
    let mut swept = Instant::now();
    let (mut before_in, mut before_out) = (0, 0);
    let mut busy_before = vec![0; counters.len()];
    loop {
        ticks.tick().await;
        let mut busiest = 0;
        for (counters, before) in counters.iter().zip(&mut busy_before) {
            let busy = counters.busy_ns.get();
            busiest = busiest.max(busy - *before);
            *before = busy;
        }
        let total_in: u64 = counters.iter().map(|c| c.datagrams_in.get()).sum();
        let total_out: u64 = counters.iter().map(|c| c.datagrams_out.get()).sum();
        load.send_replace(RelayLoad {
            sessions: registry.sessions() as u32,
            rooms: registry.rooms() as u32,
            datagrams_in_per_s: (total_in - before_in) * 1000 / LOAD_INTERVAL_MS,
            datagrams_out_per_s: (total_out - before_out) * 1000 / LOAD_INTERVAL_MS,
            busy_percent: (busiest * 100 / interval.as_nanos() as u64).min(100) as u32,
        });
        (before_in, before_out) = (total_in, total_out);
        if swept.elapsed() >= SWEEP_INTERVAL {
            swept = Instant::now();
            registry.sweep(swept);
        }
    }
}

fn worker_count(flags: &Flags) -> Result<usize, StartError> {
    if flags.coalesce_min > flags.coalesce_max {
        return Err(StartError::Flags(
            "--coalesce-min is longer than --coalesce-max".to_owned(),
        ));
    }
    let workers = match flags.workers {
        0 => thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    if workers > MAX_WORKERS {
        return Err(StartError::Flags(format!(
            "--workers is {MAX_WORKERS} at most, not {workers}"
        )));
    }
    Ok(workers)
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
