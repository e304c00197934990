//! A worker's thread: receive a batch, let the core decide, send, and round again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::{UdpDriver, Waker, pin};
use crate::core::window::WindowControl;
use crate::core::worker::Ended;
use crate::core::{Mailbox, Packet, Worker};
use crate::heartbeat::Heartbeat;

/// Longest wait for a datagram: the core's clock has to tick.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// Commands taken in a round, at most: the sockets are to have their turn.
const MAX_COMMANDS: usize = 1024;

/// A worker with all it needs to run.
pub struct WorkerThread {
    /// What decides.
    pub worker: Worker,
    /// Its socket.
    pub driver: UdpDriver,
    /// What control's side tells it.
    pub mailbox: Mailbox,
    /// Where it tells of sessions that ended.
    pub ended: UnboundedSender<Ended>,
    /// Tells that the thread makes progress.
    pub heartbeat: Arc<Heartbeat>,
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

/// What a worker's thread remembers from one round to the next.
struct State {
    /// Empty between rounds.
    batch: Vec<Box<Packet>>,
    /// True when the sockets took no more.
    is_blocked: bool,
    round_ended: Instant,
    last_worked: Instant,
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
        let mut state = State {
            batch: Vec::with_capacity(self.batch),
            is_blocked: false,
            round_ended: Instant::now(),
            last_worked: Instant::now(),
        };
        loop {
            self.wait(&state)?;
            self.driver.note_wakings();
            // Before the mailbox: what was put there before the flag was set is done before the end.
            let is_stopping = self.stop.load(Ordering::Acquire);
            let began = Instant::now();
            self.heartbeat.beat(began);
            let has_worked = self.round(began, &mut state)?;
            self.measure(began, has_worked, &mut state);
            if is_stopping && self.mailbox.is_empty() && !self.worker.has_output() {
                return Ok(());
            }
        }
    }

    /// Waits until there is something to do, unless there is already or was a moment ago.
    fn wait(&mut self, state: &State) -> io::Result<()> {
        let may_send = self.worker.has_output() && !state.is_blocked;
        let idle = state
            .round_ended
            .saturating_duration_since(state.last_worked);
        let may_take = self.worker.has_crossings() || !self.mailbox.is_empty();
        if may_send || may_take || idle < self.busy_poll {
            return Ok(());
        }
        let until_deadline = self.worker.deadline().map_or(MAX_WAIT, |deadline| {
            deadline.saturating_duration_since(Instant::now())
        });
        self.driver
            .wait(until_deadline.min(MAX_WAIT), state.is_blocked)
    }

    /// Takes what is there, from control, other workers and the sockets, and sends what is due. True when there was
    /// anything to do.
    fn round(&mut self, began: Instant, state: &mut State) -> io::Result<bool> {
        let mut has_worked = self.worker.has_output() || self.worker.has_crossings();
        for command in self.mailbox.take(MAX_COMMANDS) {
            self.worker.apply(began, command);
            has_worked = true;
        }
        self.worker.receive_crossings(began);
        self.worker.make_room(self.batch);
        self.driver
            .receive(self.worker.packets(), &mut state.batch)?;
        let now = Instant::now();
        if !state.batch.is_empty() {
            has_worked = true;
            let kernel_drops = self.driver.take_kernel_drops();
            self.worker.count_batch(state.batch.len(), kernel_drops);
        }
        for packet in state.batch.drain(..) {
            self.worker.receive(now, packet);
        }
        self.worker.end_batch(now);
        self.wake_others();
        has_worked |= self.worker.has_output();
        state.is_blocked = !self.worker.transmit(now, &mut self.driver);
        self.worker
            .count_sent_by_packet(self.driver.take_sent_by_packet());
        self.worker.tick(now);
        for ended in self.worker.take_ended() {
            // Nobody listens only while the process ends.
            let _ = self.ended.send(ended);
        }
        Ok(has_worked)
    }

    /// Counts the time of a round that had something to do, and turns the window with it.
    fn measure(&mut self, began: Instant, has_worked: bool, state: &mut State) {
        let now = Instant::now();
        let mut busy = Duration::ZERO;
        if has_worked {
            busy = now - began;
            state.last_worked = now;
        }
        self.worker.count_busy(busy);
        let window = self.window.measure(busy, now - state.round_ended);
        self.worker.set_window(window);
        state.round_ended = now;
    }

    /// Others begin to send what they were handed while this worker sends its own.
    fn wake_others(&mut self) {
        for worker in self.worker.take_rung().workers() {
            if let Some(waker) = self.wakers.get(usize::from(worker)) {
                waker.wake();
            }
        }
    }
}
