//! A worker's thread: waits for work and runs rounds, for as long as the relay lives.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::{UdpDriver, Waker, pin};
use crate::core::Ended;
use crate::core::WindowControl;
use crate::core::Worker;
use crate::heartbeat::Heartbeat;

/// Longest wait for a datagram: the core's clock has to tick.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// A worker with all it needs to run.
pub struct WorkerThread {
    /// What decides.
    pub worker: Worker,
    /// Its socket.
    pub driver: UdpDriver,
    /// Where it tells of sessions that ended.
    pub ended: UnboundedSender<Ended>,
    /// Tells that the thread makes progress.
    pub heartbeat: Arc<Heartbeat>,
    /// Set when it is to stop.
    pub stop: Arc<AtomicBool>,
    /// Who else may be handed something, by index.
    pub wakers: Arc<[Waker]>,
    /// Turns the worker's window with its load.
    pub window: WindowControl,
    /// The core to stay on.
    pub core: Option<usize>,
    /// For so long after the last work the thread asks again and again before it waits.
    pub busy_poll: Duration,
}

/// What a worker's thread remembers from one round to the next.
struct State {
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
            let round = self
                .worker
                .round(began, &mut self.driver, |worker| wake(&self.wakers, worker))?;
            state.is_blocked = round.is_blocked;
            for ended in self.worker.take_ended() {
                // It fails only while the process ends.
                let _ = self.ended.send(ended);
            }
            self.measure(began, round.has_worked, &mut state);
            if is_stopping && !self.worker.has_commands() && !self.worker.has_output() {
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
        let may_take = self.worker.has_crossings() || self.worker.has_commands();
        if may_send || may_take || idle < self.busy_poll {
            return Ok(());
        }
        let until_deadline = self.worker.deadline().map_or(MAX_WAIT, |deadline| {
            deadline.saturating_duration_since(Instant::now())
        });
        self.driver
            .wait(until_deadline.min(MAX_WAIT), state.is_blocked)
    }

    /// Counts the time of a round that had something to do, and sets the window by the load.
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
}

fn wake(wakers: &[Waker], worker: u8) {
    if let Some(waker) = wakers.get(usize::from(worker)) {
        waker.wake();
    }
}
