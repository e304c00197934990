//! Runs the command that the flags select.

mod admin;
mod answers;
mod asked;
mod companion;
mod errors;
mod fleet;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use confab_console::{Form, Hangup, Plan, Repeated, Signal, Signals, beside, out, report};

pub use admin::InputError;
use answers::{answer, note, say};
use companion::NotStarted;
pub use companion::{Companion, HeldPorts, INSIDE, Inner, InnerError};
pub use errors::CommandError;

use crate::clock::Clock;
use crate::flags::{
    ClusterKeysFlags, Command, FingerprintFlags, Flags, LogFormat, NodeIdentityFlags,
    OperatorIdentityFlags, RelayIdentityFlags, ServeFlags,
};
use crate::operator::show::counted;
use crate::server::{self, copy_cluster_keys, serve};
use crate::tls::authority::{Authority, CA_FILE};

/// Time limit for background work at the end.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// Signals of a server: the first SIGTERM or SIGINT shuts it down, the second ends it immediately.
const SERVER_SIGNALS: Plan = Plan {
    hangup: Hangup::Reloads,
    at_once_after: 2,
    deadline: None,
};

/// Runs the command and waits until its answer is written. `inner` makes the relay of `serve --with-relay`.
pub fn run(flags: Flags, inner: &impl Inner) -> Result<(), CommandError> {
    match flags.command {
        Command::Serve(flags) => return run_server(&flags, inner),
        Command::RelayIdentity(flags) => relay_identity(&flags)?,
        Command::NodeIdentity(flags) => node_identity(&flags)?,
        Command::OperatorIdentity(flags) => operator_identity(&flags)?,
        Command::ClusterKeys(flags) => cluster_keys(&flags)?,
        Command::Fingerprint(FingerprintFlags { data_dir }) => {
            answer(&Authority::open(&data_dir)?.fingerprint());
        }
        Command::Check(flags) => on_runtime(check(&flags))?,
        Command::Status(flags) => on_runtime(fleet::status(&flags))?,
        Command::Users(command) => on_runtime(admin::users(&command))?,
        Command::Conferences(command) => on_runtime(admin::conferences(&command))?,
        Command::Rooms(command) => on_runtime(admin::rooms(&command))?,
        Command::Message(flags) => on_runtime(admin::message(&flags))?,
        Command::Drain(flags) => on_runtime(fleet::drain(&flags))?,
        Command::RevokeRelay(flags) => on_runtime(fleet::revoke_relay(&flags))?,
        Command::RevokeNode(flags) => on_runtime(fleet::revoke_node(&flags))?,
    }
    Ok(out().wait()?)
}

fn run_server(flags: &ServeFlags, inner: &impl Inner) -> Result<(), CommandError> {
    log_to_stderr(flags);
    // Before the first line of output, because its reader may send a signal at once.
    let signals = Signals::listen(SERVER_SIGNALS)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let served = runtime.block_on(serve_until_signal(flags, inner, signals));
    // Does not wait for threads blocked on DNS or a disk.
    runtime.shutdown_timeout(SHUTDOWN);
    served
}

fn on_runtime(work: impl Future<Output = Result<(), CommandError>>) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Runtime::new()?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

async fn check(flags: &ServeFlags) -> Result<(), CommandError> {
    let relay = flags.relay.with_relay.then_some(flags.relay.relay_listen);
    let findings = server::check(&flags.config(), relay).await;
    answer(report(&findings).trim_end());
    let bad = findings.iter().filter(|one| one.remedy.is_some()).count();
    match u32::try_from(bad).unwrap_or(u32::MAX) {
        0 => Ok(()),
        bad => Err(CommandError::ToCorrect(counted(bad.into(), "finding"))),
    }
}

async fn serve_until_signal(
    flags: &ServeFlags,
    inner: &impl Inner,
    mut signals: Signals,
) -> Result<(), CommandError> {
    // The file system may hang.
    let mut starting = Box::pin(beside(serve(flags.config())));
    let running = loop {
        tokio::select! {
            running = &mut starting => break running?,
            signal = signals.next() => if signal != Signal::Hangup {
                return Ok(());
            },
        }
    };
    say(&format!("listening on {} (QUIC)", running.addr));
    say(&format!("cluster CA fingerprint: {}", running.fingerprint));
    if let Some(address) = running.metrics {
        say(&format!("metrics on http://{address}/metrics"));
    }
    let mut companion = match companion::start(flags, inner, &running, &mut signals).await {
        Ok(companion) => companion,
        Err(not_started) => {
            running.shutdown().await;
            return match not_started {
                NotStarted::Signal => Ok(()),
                NotStarted::Inner(error) => Err(error.into()),
                NotStarted::Lost(lost) => Err(lost.into()),
            };
        }
    };
    let says = companion.iter().flat_map(|companion| &companion.says);
    says.for_each(|line| say(line));
    // The ports are control's as well, and outlive a relay that is drained.
    let mut ports = companion
        .as_mut()
        .and_then(|companion| companion.ports.take());
    let certificates = running.certificates.clone();
    let audit = running.audit().clone();
    let reload = Repeated::new(move || {
        let (certificates, audit) = (certificates.clone(), audit.clone());
        async move {
            audit.reopen();
            certificates.reload().await;
        }
    });
    let lost = loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Hangup => reload.wish(),
                _ => break None,
            },
            lost = running.lost() => break Some(CommandError::from(lost)),
            line = companion::news(&mut ports) => say(&line),
            ended = companion::ended(&mut companion) => match ended {
                Err(error) => break Some(error.into()),
                // It was drained, and others may go on.
                Ok(()) => {
                    companion = None;
                    say("the relay inside has ended, as it was asked to");
                }
            },
        }
    };
    tracing::info!("stopping");
    running.shutdown().await;
    companion::end(companion, ports).await;
    lost.map_or(Ok(()), Err)
}

fn relay_identity(flags: &RelayIdentityFlags) -> Result<(), CommandError> {
    if flags.name.as_str() == INSIDE {
        let why =
            format!("{INSIDE} is the name of the relay of `serve --with-relay`: choose another");
        return Err(InnerError(why).into());
    }
    let now = Clock::System.now();
    let is_new = !flags.data_dir.join(CA_FILE).exists();
    let authority = Authority::open_or_create(&flags.data_dir, now)?;
    if is_new {
        let folder = flags.data_dir.display();
        note(&format!(
            "there was no server in {folder}: a new cluster CA was made there. A relay with this identity links to a server with that folder only"
        ));
    }
    let written = authority.issue_relay(&flags.name, &flags.out, now)?;
    for file in [&written.certificate, &written.key, &written.ca] {
        answer(&format!("wrote {}", file.display()));
    }
    Ok(())
}

fn node_identity(flags: &NodeIdentityFlags) -> Result<(), CommandError> {
    let (from, out, now) = (&flags.data_dir, &flags.out, Clock::System.now());
    let shared = copy_cluster_keys(from, out, false, now)?;
    let authority = Authority::open(from)?;
    let own = authority.issue_node(&flags.name, &flags.public_names, out, now)?;
    let mut written: BTreeSet<_> = shared.into_iter().collect();
    written.extend(own);
    written.iter().for_each(|file| wrote(file));
    Ok(())
}

fn operator_identity(flags: &OperatorIdentityFlags) -> Result<(), CommandError> {
    let authority = Authority::open(&flags.data_dir)?;
    let written = authority.issue_operator(&flags.out, Clock::System.now())?;
    written.iter().for_each(|file| wrote(file));
    Ok(())
}

fn cluster_keys(flags: &ClusterKeysFlags) -> Result<(), CommandError> {
    let now = Clock::System.now();
    let written = copy_cluster_keys(&flags.data_dir, &flags.out, flags.ca_key, now)?;
    written.iter().for_each(|file| wrote(file));
    Ok(())
}

fn wrote(file: &Path) {
    answer(&format!("wrote {}", file.display()));
}

/// Logs this program's lines at the chosen level. Of dependencies only errors, because their lines may contain
/// addresses.
fn log_to_stderr(flags: &ServeFlags) {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;

    let level = LevelFilter::from_level(flags.log_level);
    let filter = Targets::new()
        .with_target("confab_control", level)
        .with_target("confab_relay", level)
        .with_default(level.min(LevelFilter::ERROR));
    let lines = tracing_subscriber::fmt::layer().with_ansi(false);
    let subscriber = tracing_subscriber::registry().with(filter);
    // Fails only if a subscriber is set already, which then stays.
    let _ = match flags.log_format {
        LogFormat::Text => subscriber
            .with(lines.with_writer(confab_console::logs(Form::Text)))
            .try_init(),
        LogFormat::Json => subscriber
            .with(lines.json().with_writer(confab_console::logs(Form::Json)))
            .try_init(),
    };
}
