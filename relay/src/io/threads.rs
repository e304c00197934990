//! A worker's thread: receive a batch, let the core decide, send, and round again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::UdpDriver;
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
    /// Datagrams received at a time; so many buffers are kept free.
    pub batch: usize,
    /// Turns the worker's window with its load.
    pub window: WindowControl,
}

impl WorkerThread {
    /// Starts the thread. It ends when it is told to stop, or with the error that stopped it.
    pub fn spawn(self, index: usize) -> io::Result<JoinHandle<io::Result<()>>> {
        thread::Builder::new()
            .name(format!("relay-{index}"))
            .spawn(move || self.run())
    }

    fn run(mut self) -> io::Result<()> {
        let mut batch = Vec::with_capacity(self.batch);
        let mut is_blocked = false;
        let mut round = Instant::now();
        loop {
            let busy = self.worker.has_output() && !is_blocked;
            if !busy {
                let until_deadline = self.worker.deadline().map_or(MAX_WAIT, |deadline| {
                    deadline.saturating_duration_since(Instant::now())
                });
                self.driver.wait(until_deadline.min(MAX_WAIT), is_blocked)?;
            }
            let woken = Instant::now();
            for command in self.mailbox.try_iter() {
                self.worker.apply(woken, command);
            }
            self.worker.make_room(self.batch);
            self.driver.receive(self.worker.packets(), &mut batch)?;
            let now = Instant::now();
            if !batch.is_empty() {
                self.worker.count_batch(self.driver.take_kernel_drops());
            }
            for packet in batch.drain(..) {
                self.worker.receive(now, packet);
            }
            self.worker.end_batch(now);
            is_blocked = !self.worker.transmit(now, &mut self.driver);
            self.worker.tick(now);
            for ended in self.worker.take_ended() {
                // Nobody listens only while the process ends.
                let _ = self.ended.send(ended);
            }
            let end = Instant::now();
            let busy = end - woken;
            self.worker.count_busy(busy);
            self.worker
                .set_window(self.window.measure(busy, end - round));
            round = end;
            if self.stop.load(Ordering::Acquire) && !self.worker.has_output() {
                return Ok(());
            }
        }
    }
}
