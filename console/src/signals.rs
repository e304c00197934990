//! Signals. A thread of its own listens, so signals work even while all other threads are blocked.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// Ctrl-C, or SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP.
    Hangup,
}

/// Meaning of signals for a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Meaning of SIGHUP.
    pub hangup: Hangup,
    /// The process ends immediately at the `at_once_after`th signal that requests the end. SIGHUP counts only if it is the
    /// first: a closing terminal often sends two, and some supervisors send SIGHUP after SIGTERM.
    pub at_once_after: u32,
    /// Longest time from the first signal that requests the end to the end of the process. `None`: no limit.
    pub deadline: Option<Duration>,
}

/// Meaning of SIGHUP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hangup {
    /// Requests the end, unless it was ignored when the program started (`nohup`).
    Ends,
    Reloads,
}

#[derive(Debug)]
pub struct Signals {
    heard: mpsc::UnboundedReceiver<Signal>,
    at_once: Arc<AtomicBool>,
}

impl Signal {
    /// Exit code of a program that the signal ended: 128 plus its number.
    pub const fn exit_code(self) -> u8 {
        128 + match self {
            Self::Interrupt => 2,
            Self::Terminate => 15,
            Self::Hangup => 1,
        }
    }
}

impl Signals {
    /// Starts to listen. To be called once for a process.
    pub fn listen(plan: Plan) -> io::Result<Self> {
        let (to, heard) = mpsc::unbounded_channel();
        let at_once = Arc::new(AtomicBool::new(false));
        let (ready_to, ready) = std::sync::mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let next_is_last = at_once.clone();
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                runtime.block_on(async {
                    match Sources::new(plan.hangup) {
                        Ok(sources) => {
                            let _ = ready_to.send(Ok(()));
                            listen(sources, plan, &next_is_last, &to).await;
                        }
                        Err(error) => drop(ready_to.send(Err(error))),
                    }
                });
            })?;
        ready
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the thread for signals ended")))?;
        Ok(Self { heard, at_once })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Signal {
        match self.heard.recv().await {
            Some(signal) => signal,
            // The thread has ended: no signal will come.
            None => std::future::pending().await,
        }
    }

    /// From now on the first signal that requests the end ends the process immediately.
    pub fn end_at_once(&self) {
        self.at_once.store(true, Ordering::Relaxed);
    }
}

async fn listen(
    mut sources: Sources,
    plan: Plan,
    at_once: &AtomicBool,
    to: &mpsc::UnboundedSender<Signal>,
) {
    let mut deadline = None;
    let mut asked = 0;
    loop {
        let signal = match deadline {
            None => sources.next().await,
            Some((at, first)) => match tokio::time::timeout_at(at, sources.next()).await {
                Ok(signal) => signal,
                Err(_) => end_now(first),
            },
        };
        if signal != Signal::Hangup || plan.hangup == Hangup::Ends {
            if at_once.load(Ordering::Relaxed) {
                end_now(signal);
            }
            if signal == Signal::Hangup && asked > 0 {
                continue;
            }
            asked += 1;
            if asked >= plan.at_once_after {
                end_now(signal);
            }
            if let (None, Some(time)) = (deadline, plan.deadline) {
                deadline = Some((tokio::time::Instant::now() + time, signal));
            }
        }
        // The receiver is dropped at the end of the program.
        let _ = to.send(signal);
    }
}

/// Ends the process immediately.
fn end_now(signal: Signal) -> ! {
    std::process::exit(signal.exit_code().into());
}

#[cfg(unix)]
struct Sources {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// `None`: SIGHUP stays ignored.
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Sources {
    fn new(hangup: Hangup) -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let is_ignored = hangup == Hangup::Ends && crate::os::ignores_hangup();
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: match is_ignored {
                true => None,
                false => Some(signal(SignalKind::hangup())?),
            },
        })
    }

    async fn next(&mut self) -> Signal {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = hangup => Signal::Hangup,
        }
    }
}

#[cfg(not(unix))]
struct Sources;

#[cfg(not(unix))]
impl Sources {
    fn new(_: Hangup) -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Interrupt,
            Err(_) => std::future::pending().await,
        }
    }
}
