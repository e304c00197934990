//! A hot key of the desktop, by signals: a terminal does not tell when a key is let go.

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGUSR1 says that the key is held, SIGUSR2 that it was let go.
pub(super) struct HotKey {
    #[cfg(unix)]
    signals: Option<(Signal, Signal)>,
}

impl HotKey {
    /// Listens from now on, in every command: without that these signals would end the program.
    pub(super) fn listen() -> Self {
        #[cfg(unix)]
        {
            let held = signal(SignalKind::user_defined1());
            let signals = held.and_then(|held| Ok((held, signal(SignalKind::user_defined2())?)));
            if let Err(error) = &signals {
                tracing::warn!(%error, "hot keys do not work");
            }
            Self {
                signals: signals.ok(),
            }
        }
        #[cfg(not(unix))]
        Self {}
    }

    /// Waits until the key is held (true) or let go.
    pub(super) async fn next(&mut self) -> bool {
        #[cfg(unix)]
        if let Some((held, let_go)) = &mut self.signals {
            return tokio::select! {
                // Of two that wait, the last word is that it was let go.
                biased;
                Some(()) = held.recv() => true,
                Some(()) = let_go.recv() => false,
                else => std::future::pending().await,
            };
        }
        std::future::pending().await
    }
}
