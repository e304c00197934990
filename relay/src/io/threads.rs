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

/// A worker with all that its thread needs.
pub struct WorkerThread {
    /// The state machine.
    pub worker: Worker,
    /// Its sockets.
    pub driver: UdpDriver,
    /// Receives the sessions that ended at the worker.
    pub ended: UnboundedSender<Ended>,
    /// Shows that the thread makes progress.
    pub heartbeat: Arc<Heartbeat>,
    /// Set to stop the thread.
    pub stop: Arc<AtomicBool>,
    /// The wakers of all workers, by index.
    pub wakers: Arc<[Waker]>,
    /// Sets the worker's window by its load.
    pub window: WindowControl,
    /// The core to run on; `None` for any.
    pub core: Option<usize>,
    /// Time after the last work in which the thread polls its sockets instead of waiting.
    pub busy_poll: Duration,
}

/// The state of a worker's thread between rounds.
struct State {
    /// True if the sockets took no more.
    is_blocked: bool,
    round_ended: Instant,
    last_worked: Instant,
}

impl WorkerThread {
    /// Starts the thread. It ends when `stop` is set, or with the error that stopped it.
    pub fn spawn(self, index: usize) -> io::Result<JoinHandle<io::Result<()>>> {
        thread::Builder::new()
            .name(format!("relay-{index}"))
            .spawn(move || {
                if let Some(core) = self.core
                    && let Err(error) = pin::pin_to(core)
                {
                    tracing::warn!("cannot pin worker {index} to core {core}: {error}");
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
            // Before the mailbox: commands that were sent before the flag was set are carried out before the end.
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

    /// Waits for work, unless there is some already or there was within the busy-poll time.
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
