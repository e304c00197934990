//! Starts the worker threads that the flags ask for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use confab_protocol::media::HopKey;
use tokio::sync::mpsc::UnboundedSender;

use crate::core::RateLimits;
use crate::core::WindowControl;
use crate::core::{Counters, Crossings, MailboxSender, Worker, mailbox};
use crate::core::{Ended, WorkerConfig};
use crate::daemon::StartError;
use crate::flags::Flags;
use crate::heartbeat::Heartbeat;
use crate::io::WorkerThread;
use crate::io::{BindError, MOST_WORKERS, UdpDriver, Waker};

/// Items that wait for a worker from other workers, at most: some 10 ms of frames at full load. Less than the receive
/// buffers of a worker, so that not all of them can wait here.
const CROSSING_RING: usize = 1024;

/// The worker threads, and what the rest of the relay needs of them.
pub(crate) struct Workers {
    pub(crate) mailboxes: Vec<MailboxSender>,
    pub(crate) counters: Vec<Arc<Counters>>,
    pub(crate) heartbeats: Vec<Arc<Heartbeat>>,
    pub(crate) wakers: Arc<[Waker]>,
    pub(crate) threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Workers {
    pub(crate) fn start(
        flags: &Flags,
        drivers: Vec<UdpDriver>,
        stop: &Arc<AtomicBool>,
        ended: &UnboundedSender<Ended>,
    ) -> Result<Self, StartError> {
        let buffers = flags.buffers as usize;
        let crossings = Arc::new(Crossings::new(drivers.len(), CROSSING_RING, buffers));
        let cores = flags.pin.cores(drivers.len());
        let mut workers = Self {
            mailboxes: Vec::new(),
            counters: Vec::new(),
            heartbeats: Vec::new(),
            wakers: drivers.iter().map(UdpDriver::waker).collect(),
            threads: Vec::new(),
        };
        for (index, (driver, core)) in drivers.into_iter().zip(cores).enumerate() {
            let (post, mailbox) = mailbox();
            let counters = Arc::new(Counters::default());
            let heartbeat = Arc::new(Heartbeat::new(Instant::now()));
            let worker = Worker::new(
                worker_config(flags, index),
                Instant::now(),
                mailbox,
                Arc::clone(&counters),
                Arc::clone(&crossings),
                HopKey::new(rand::random()),
            );
            let thread = WorkerThread {
                worker,
                driver,
                ended: ended.clone(),
                heartbeat: Arc::clone(&heartbeat),
                stop: Arc::clone(stop),
                wakers: Arc::clone(&workers.wakers),
                window: WindowControl::new(flags.coalesce_min, flags.coalesce_max),
                core,
                busy_poll: flags.busy_poll,
            };
            workers.mailboxes.push(post);
            workers.counters.push(counters);
            workers.heartbeats.push(heartbeat);
            let thread = thread.spawn(index).map_err(StartError::Thread)?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }
}

fn worker_config(flags: &Flags, index: usize) -> WorkerConfig {
    WorkerConfig {
        index: index as u8,
        buffers: flags.buffers as usize,
        batch: usize::from(flags.batch),
        speakers: usize::from(flags.speakers),
        limits: RateLimits {
            packets_per_second: flags.packet_rate.0.round() as u32,
            packet_burst: flags.packet_burst,
            bytes_per_second: flags.bit_rate.0 / 8,
        },
        idle_timeout: flags.idle_timeout,
    }
}

/// The count of workers that the flags ask for.
pub(crate) fn worker_count(flags: &Flags) -> Result<usize, StartError> {
    if flags.coalesce_min > flags.coalesce_max {
        return Err(StartError::Flags(
            "--coalesce-min is longer than --coalesce-max".to_owned(),
        ));
    }
    let workers = match flags.workers {
        0 => thread::available_parallelism()
            .map_or(1, usize::from)
            .min(MOST_WORKERS),
        workers => workers,
    };
    if workers > MOST_WORKERS {
        return Err(BindError::Workers(workers).into());
    }
    Ok(workers)
}
