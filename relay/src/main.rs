//! `confab-relay`: flags, log, and the library.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use confab_relay::check::{self, Host};
use confab_relay::flags::{Command, Flags, LogFormat};
use tokio::sync::mpsc::{Receiver, channel};
use tracing_subscriber::EnvFilter;

/// Signals that may wait to be noticed.
const SIGNALS: usize = 4;

fn main() -> ExitCode {
    let flags = Flags::parse();
    if flags.command == Some(Command::Check) {
        let host = Host::new(Path::new("/"));
        print!("{}", check::report(&host.findings()));
        return ExitCode::SUCCESS;
    }
    if let Err(error) = start_log(&flags) {
        eprintln!("confab-relay: {error}");
        return ExitCode::from(2);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(&flags)),
        Err(error) => Err(format!("cannot start: {error}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("confab-relay: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: &Flags) -> Result<(), String> {
    let signals = signals().map_err(|error| error.to_string())?;
    let relay = confab_relay::start(flags)
        .await
        .map_err(|error| error.to_string())?;
    for address in relay.addresses() {
        println!("listening on {address} (UDP)");
    }
    if let Some(address) = relay.metrics() {
        println!("metrics on http://{address}/metrics");
    }
    relay.run(signals).await.map_err(|error| error.to_string())
}

/// Tells of each SIGTERM and SIGINT.
#[cfg(unix)]
fn signals() -> std::io::Result<Receiver<()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (to, signals) = channel(SIGNALS);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            // Nobody listens any more when the relay has ended.
            let _ = to.send(()).await;
        }
    });
    Ok(signals)
}

/// Tells of each Ctrl-C.
#[cfg(not(unix))]
fn signals() -> std::io::Result<Receiver<()>> {
    let (to, signals) = channel(SIGNALS);
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() && to.send(()).await.is_ok() {}
    });
    Ok(signals)
}

fn start_log(flags: &Flags) -> Result<(), String> {
    let filter = EnvFilter::try_new(&flags.log_level)
        .map_err(|error| format!("--log-level {:?} is no filter: {error}", flags.log_level))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match flags.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
