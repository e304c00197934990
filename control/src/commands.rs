//! What the program does, by its flags.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use confab_protocol::control::text;

use crate::clock::Clock;
use crate::flags::{
    ClusterKeysFlags, Command, DrainFlags, FingerprintFlags, Flags, LogFormat, OperatorFlags,
    RelayIdentityFlags, RevokeRelayFlags, ServeFlags, StatusFlags,
};
use crate::operator::{Operator, OperatorError, show};
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
    /// A cluster that runs did not do what was asked.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// The operating system refuses something.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

impl CommandError {
    /// What the process ends with: 4 when there is no such thing, 6 when no node answers, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Operator(OperatorError::NoSuchRelay { .. }) => 4,
            Self::Operator(OperatorError::Node { .. }) => 6,
            _ => 1,
        }
    }
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
        Command::Status(flags) => on_runtime(status(&flags)),
        Command::Drain(flags) => on_runtime(drain(&flags)),
        Command::RevokeRelay(flags) => on_runtime(revoke_relay(&flags)),
    }
}

fn on_runtime(work: impl Future<Output = Result<(), CommandError>>) -> Result<(), CommandError> {
    tokio::runtime::Runtime::new()?.block_on(work)
}

async fn status(flags: &StatusFlags) -> Result<(), CommandError> {
    let status = operator(&flags.operator)?.status().await?;
    match flags.json {
        true => write(&text::json_escaped(&show::json(&status).to_string())),
        false => say(show::text(&status).trim_end()),
    }
}

async fn drain(flags: &DrainFlags) -> Result<(), CommandError> {
    let (relay, wait) = (&flags.relay, Duration::from_secs(flags.wait));
    let progress = |sessions| {
        // Whoever does not read it any more still wants the relay drained.
        let _ = say(&format!("{relay}: {sessions} sessions"));
    };
    operator(&flags.operator)?
        .drain(relay, wait, progress)
        .await?;
    say(&format!("{relay}: no sessions are left"))
}

async fn revoke_relay(flags: &RevokeRelayFlags) -> Result<(), CommandError> {
    let (relay, now) = (&flags.relay, Clock::System.now());
    operator(&flags.operator)?.revoke(relay, now).await?;
    say(&format!(
        "{relay}: its identities up to now are revoked; make a new one with `confab-control relay-identity {relay}`"
    ))
}

fn operator(flags: &OperatorFlags) -> Result<Operator, OperatorError> {
    Operator::new(&flags.data_dir, flags.node.as_deref(), Clock::System.now())
}

async fn serve_until_signal(flags: &ServeFlags) -> Result<(), CommandError> {
    // Before anything is said: whoever reads the lines may send the signal at once.
    let stop = stop_signal()?;
    let running = serve(flags.config()).await?;
    say(&format!("listening on {} (QUIC)", running.addr))?;
    say(&format!("cluster CA fingerprint: {}", running.fingerprint))?;
    if let Some(address) = running.metrics {
        say(&format!("metrics on http://{address}/metrics"))?;
    }
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

/// Lines on stdout. Nodes and relays tell some of what is in them: it is escaped where it would deceive.
fn say(lines: &str) -> Result<(), CommandError> {
    let lines: Vec<_> = lines.lines().map(text::escaped).collect();
    write(&lines.join("\n"))
}

/// It is there at once for whoever waits for it.
fn write(shown: &str) -> Result<(), CommandError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{shown}")?;
    out.flush()?;
    Ok(())
}
