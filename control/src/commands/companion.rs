//! The relay in the server's process, and the ports that a router passes to both.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use confab_console::{Signal, Signals};

use crate::Running;
use crate::flags::ServeFlags;
use crate::server::TaskLost;

/// Time limit for the end of a relay in this process.
const RELAY_END: Duration = Duration::from_secs(2);
/// Time limit for the release of ports.
const PORTS_END: Duration = Duration::from_secs(2);

/// Starts a relay in the server's process: the program that has both.
pub trait Inner {
    /// Starts it for a server that listens.
    fn start(
        &self,
        server: &Running,
        flags: &ServeFlags,
    ) -> impl Future<Output = Result<Companion, InnerError>>;
}

/// A relay in the server's process.
pub struct Companion {
    /// Lines for the operator.
    pub says: Vec<String>,
    /// Asks it to end.
    pub end: mpsc::Sender<()>,
    /// Ends with it; with an error if it stopped by itself.
    pub task: JoinHandle<Result<(), InnerError>>,
    /// The server's ports at a router.
    pub ports: Option<HeldPorts>,
}

/// Ports that a router passes to this machine while they are held.
pub struct HeldPorts {
    /// Lines for the operator, when something changes.
    pub news: mpsc::Receiver<String>,
    /// Asks to release them.
    pub end: oneshot::Sender<()>,
    /// Ends when they are released.
    pub task: JoinHandle<()>,
}

/// The relay in the server's process did not start, or stopped by itself; or another one was to have its name.
#[derive(Debug, thiserror::Error)]
#[error("the relay inside: {0}")]
pub struct InnerError(pub String);

/// The name of the relay in the server's process.
pub const INSIDE: &str = "inside";

/// Why there is no relay in this process although it is wished.
pub(super) enum NotStarted {
    /// A signal asks the program to end.
    Signal,
    Inner(InnerError),
    Lost(TaskLost),
}

/// Starts the relay in this process, if it is wished.
pub(super) async fn start(
    flags: &ServeFlags,
    inner: &impl Inner,
    running: &Running,
    signals: &mut Signals,
) -> Result<Option<Companion>, NotStarted> {
    if let Some(said) = flags.relay.without_effect() {
        tracing::warn!("{said}");
    }
    if !flags.relay.with_relay {
        return Ok(None);
    }
    let mut starting = Box::pin(inner.start(running, flags));
    loop {
        tokio::select! {
            started = &mut starting => return started.map(Some).map_err(NotStarted::Inner),
            lost = running.lost() => return Err(NotStarted::Lost(lost)),
            signal = signals.next() => if signal != Signal::Hangup {
                return Err(NotStarted::Signal);
            },
        }
    }
}

/// Waits until the relay in this process has ended: with an error if it stopped by itself. For ever without one.
pub(super) async fn ended(companion: &mut Option<Companion>) -> Result<(), InnerError> {
    match companion {
        None => std::future::pending().await,
        Some(companion) => match (&mut companion.task).await {
            Ok(ended) => ended,
            Err(error) => Err(InnerError(error.to_string())),
        },
    }
}

/// The next line about the ports. For ever without one.
pub(super) async fn news(ports: &mut Option<HeldPorts>) -> String {
    let line = match ports {
        Some(ports) => ports.news.recv().await,
        None => None,
    };
    match line {
        Some(line) => line,
        None => std::future::pending().await,
    }
}

/// Ends the relay and releases the ports.
pub(super) async fn end(companion: Option<Companion>, ports: Option<HeldPorts>) {
    let relay = async {
        if let Some(companion) = companion {
            // The second time it does not wait until nobody is left: its rooms can go nowhere.
            for _ in 0..2 {
                let _ = companion.end.send(()).await;
            }
            // The relay's error is in the log.
            let _ = companion.task.await;
        }
    };
    let ports = async {
        if let Some(ports) = ports {
            // The task has ended by itself if this fails.
            let _ = ports.end.send(());
            let _ = ports.task.await;
        }
    };
    let _ = tokio::join!(
        tokio::time::timeout(RELAY_END, relay),
        tokio::time::timeout(PORTS_END, ports)
    );
}
