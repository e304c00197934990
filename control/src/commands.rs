//! What the program does, by its flags.

use std::io::{IsTerminal as _, Write as _};

use crate::clock::Clock;
use crate::flags::{
    ClusterKeysFlags, Command, FingerprintFlags, Flags, LogFormat, RelayIdentityFlags, ServeFlags,
};
use crate::running::{ServeError, copy_cluster_keys, serve};
use crate::tls::TlsError;
use crate::tls::authority::Authority;

/// Why the program ends before its time.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The server does not start.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Keys or certificates are not in order.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The operating system refuses something.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// Does what the flags say, to its end.
pub fn run(flags: Flags) -> Result<(), CommandError> {
    match flags.command {
        Command::Serve(flags) => {
            log_to_stderr(&flags);
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(serve_until_signal(&flags))
        }
        Command::RelayIdentity(flags) => relay_identity(&flags),
        Command::ClusterKeys(flags) => cluster_keys(&flags),
        Command::Fingerprint(FingerprintFlags { data_dir }) => {
            say(&Authority::open(&data_dir)?.fingerprint())
        }
    }
}

async fn serve_until_signal(flags: &ServeFlags) -> Result<(), CommandError> {
    // Before anything is said: whoever reads the lines may send the signal at once.
    let stop = stop_signal()?;
    let running = serve(flags.config()).await?;
    say(&format!("listening on {} (QUIC)", running.addr))?;
    say(&format!("cluster CA fingerprint: {}", running.fingerprint))?;
    stop.await;
    tracing::info!("stopping");
    running.shutdown().await;
    Ok(())
}

fn relay_identity(flags: &RelayIdentityFlags) -> Result<(), CommandError> {
    let now = Clock::System.now();
    let authority = Authority::open_or_create(&flags.data_dir, now)?;
    let written = authority.issue_relay(&flags.name, &flags.out, now)?;
    for file in [&written.certificate, &written.key, &written.ca] {
        say(&format!("wrote {}", file.display()))?;
    }
    Ok(())
}

fn cluster_keys(flags: &ClusterKeysFlags) -> Result<(), CommandError> {
    for file in copy_cluster_keys(&flags.data_dir, &flags.out, Clock::System.now())? {
        say(&format!("wrote {}", file.display()))?;
    }
    Ok(())
}

#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        // Without a handler nothing but the end of the process stops the server.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

/// This program's own lines at the level asked for; of what it is built from only what is wrong, for that may name
/// addresses.
fn log_to_stderr(flags: &ServeFlags) {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;

    let level = LevelFilter::from_level(flags.log_level);
    let filter = Targets::new()
        .with_target("confab_control", level)
        .with_default(level.min(LevelFilter::ERROR));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let subscriber = tracing_subscriber::registry().with(filter);
    // Fails only where a subscriber is set already, and then that one is wanted.
    let _ = match flags.log_format {
        LogFormat::Text => subscriber.with(lines).try_init(),
        LogFormat::Json => subscriber.with(lines.json()).try_init(),
    };
}

/// A line on stdout, there at once for whoever waits for it.
fn say(line: &str) -> Result<(), CommandError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}
