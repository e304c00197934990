//! A worker's thread: receive a batch, let the core decide, send, and round again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::{UdpDriver, Waker, pin};
use crate::core::window::WindowControl;
use crate::core::worker::Ended;
use crate::core::{Worker, WorkerCommand};

/// Longest wait for a datagram: the core's clock has to tick.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// A worker with all it needs to run.
pub struct WorkerThread {
    /// What decides.
    pub worker: Worker,
    /// Its socket.
    pub driver: UdpDriver,
    /// What control's side tells it.
    pub mailbox: Receiver<WorkerCommand>,
    /// Where it tells of sessions that ended.
    pub ended: UnboundedSender<Ended>,
    /// Set when it is to stop.
    pub stop: Arc<AtomicBool>,
    /// Who else may be handed something, by index.
    pub wakers: Arc<[Waker]>,
    /// Datagrams received at a time; so many buffers are kept free.
    pub batch: usize,
    /// Turns the worker's window with its load.
    pub window: WindowControl,
    /// The core to stay on.
    pub core: Option<usize>,
    /// For so long after the last work the thread asks again and again before it waits.
    pub busy_poll: Duration,
}

impl WorkerThread {
    /// Starts the thread. It ends when it is told to stop, or with the error that stopped it.
    pub fn spawn(self, index: usize) -> io::Result<JoinHandle<io::Result<()>>> {
        thread::Builder::new()
            .name(format!("relay-{index}"))
            .spawn(move || {
                if let Some(core) = self.core
                    && let Err(error) = pin::pin_to(core)
                {
                    tracing::warn!("worker {index} is not kept on core {core}: {error}");
                }
                self.run()
            })
    }

    fn run(mut self) -> io::Result<()> {
        let mut batch = Vec::with_capacity(self.batch);
        let mut is_blocked = false;
        let mut round = Instant::now();
        let mut worked = round;
        loop {
            let has_work = (self.worker.has_output() && !is_blocked) || self.worker.has_crossings();
            if !has_work && round.saturating_duration_since(worked) >= self.busy_poll {
                let until_deadline = self.worker.deadline().map_or(MAX_WAIT, |deadline| {
                    deadline.saturating_duration_since(Instant::now())
                });
                self.driver.wait(until_deadline.min(MAX_WAIT), is_blocked)?;
            }
            self.driver.note_wakings();
            let woken = Instant::now();
            let mut has_worked = has_work;
            for command in self.mailbox.try_iter() {
                self.worker.apply(woken, command);
                has_worked = true;
            }
            has_worked |= self.worker.has_crossings();
            self.worker.receive_crossings(woken);
            self.worker.make_room(self.batch);
            self.driver.receive(self.worker.packets(), &mut batch)?;
            let now = Instant::now();
            if !batch.is_empty() {
                has_worked = true;
                let kernel_drops = self.driver.take_kernel_drops();
                self.worker.count_batch(batch.len(), kernel_drops);
            }
            for packet in batch.drain(..) {
                self.worker.receive(now, packet);
            }
            self.worker.end_batch(now);
            self.wake_others();
            is_blocked = !self.worker.transmit(now, &mut self.driver);
            self.worker.tick(now);
            for ended in self.worker.take_ended() {
                // Nobody listens only while the process ends.
                let _ = self.ended.send(ended);
            }
            let end = Instant::now();
            let busy = if has_worked {
                end - woken
            } else {
                Duration::ZERO
            };
            if has_worked {
                worked = end;
            }
            self.worker.count_busy(busy);
            self.worker
                .set_window(self.window.measure(busy, end - round));
            round = end;
            if self.stop.load(Ordering::Acquire) && !self.worker.has_output() {
                return Ok(());
            }
        }
    }

    /// Others begin to send what they were handed while this worker sends its own.
    fn wake_others(&mut self) {
        for worker in self.worker.take_rung().workers() {
            self.wakers[usize::from(worker)].wake();
        }
    }
}
