//! `confab-relay`: flags, log, and the library.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use confab_console::{
    Class, Form, Hangup, Plan, Repeated, Signal, Signals, beside, err, out, report,
};
use confab_relay::Relay;
use confab_relay::check::Host;
use confab_relay::descriptors;
use confab_relay::flags::{Command, Flags, LogFormat};
use tokio::sync::mpsc::{Receiver, channel};
use tracing_subscriber::EnvFilter;

/// Maximum number of queued signals.
const WAITING_SIGNALS: usize = 4;

/// Time that running background work gets at the end.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// Signals of a relay: the first one drains it, the second one ends it in order, the third one immediately.
const SIGNALS: Plan = Plan {
    hangup: Hangup::Reloads,
    at_once_after: 3,
    deadline: None,
};

fn main() {
    confab_console::run(|| match confab_console::parse::<Flags>() {
        Ok(flags) => match run(&flags) {
            Ok(()) => 0,
            Err(failure) => {
                let message = format!("confab-relay: {}", failure.message);
                err().put(Class::Answer, Form::Text, &message);
                failure.exit
            }
        },
        Err(code) => code,
    })
}

/// An error that ends the program.
struct Failure {
    exit: u8,
    message: String,
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            exit: 1,
            message: error.to_string(),
        }
    }
}

fn run(flags: &Flags) -> Result<(), Failure> {
    if flags.command == Some(Command::Check) {
        let host = Host::new(Path::new("/"));
        out().put(Class::Answer, Form::Text, &report(&host.findings()));
        return Ok(out().wait()?);
    }
    start_log(flags)?;
    descriptors::raise_limit();
    let signals = Signals::listen(SIGNALS)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| {
            let advice = descriptors::advice(&error).unwrap_or("try again");
            Failure {
                exit: 1,
                message: format!("cannot start: {error}; {advice}"),
            }
        })?;
    let served = runtime.block_on(serve(flags, signals));
    // Does not wait for threads that are blocked on a name server.
    runtime.shutdown_timeout(SHUTDOWN);
    served
}

async fn serve(flags: &Flags, mut signals: Signals) -> Result<(), Failure> {
    let flags = flags.clone();
    // Its files may not answer.
    let mut starting = Box::pin(beside(async move { confab_relay::start(&flags).await }));
    let relay = loop {
        tokio::select! {
            relay = &mut starting => break relay?,
            signal = signals.next() => if signal != Signal::Hangup {
                return Ok(());
            },
        }
    };
    for address in relay.addresses() {
        say(&format!("listening on {address} (UDP)"));
    }
    if let Some(address) = relay.metrics() {
        say(&format!("metrics on http://{address}/metrics"));
    }
    let ends = obey(signals, &relay);
    Ok(relay.run(ends).await?)
}

/// Passes on signals that request the end, and reads the identity again at SIGHUP.
fn obey(mut signals: Signals, relay: &Relay) -> Receiver<()> {
    let (to, ends) = channel(WAITING_SIGNALS);
    let identity = Arc::clone(relay.identity());
    let reload = Repeated::new(move || {
        let identity = Arc::clone(&identity);
        async move { identity.reload().await }
    });
    tokio::spawn(async move {
        loop {
            match signals.next().await {
                Signal::Hangup => reload.wish(),
                Signal::Interrupt | Signal::Terminate => {
                    // The receiver is dropped at the end of the relay.
                    let _ = to.send(()).await;
                }
            }
        }
    });
    ends
}

fn start_log(flags: &Flags) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&flags.log_level).map_err(|error| Failure {
        exit: 2,
        message: format!(
            "--log-level {:?} is not a log filter: {error}",
            flags.log_level
        ),
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false);
    match flags.log_format {
        LogFormat::Text => log.with_writer(confab_console::logs(Form::Text)).init(),
        LogFormat::Json => log
            .json()
            .with_writer(confab_console::logs(Form::Json))
            .init(),
    }
    Ok(())
}

/// Writes a line to standard output, without waiting for the reader.
fn say(line: &str) {
    out().put(Class::Event, Form::Text, line);
}
