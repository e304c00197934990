//! The commands, one file for each group.

use std::time::Duration;

use confab_console::{Form, Hangup, Plan, Signal, Signals};
use tracing_subscriber::EnvFilter;

use crate::failure::{Exit, Failure};
use crate::flags::{Command, Common, Flags};
use crate::net::server::BadServer;
use crate::net::sign_in::Access;
use crate::net::trust::PinSource;
use crate::net::{Link, Server, Trust};
use crate::output::{Output, Printed, print_on_stderr};
use crate::store::Store;

mod account;
mod conference;
mod done;
mod join;
mod meet;
mod password;
mod session;

/// Signals of the client. The second one ends it immediately; after the first one it ends within the deadline.
const SIGNALS: Plan = Plan {
    hangup: Hangup::Ends,
    at_once_after: 2,
    deadline: Some(Duration::from_secs(20)),
};

/// Carries out the command. Errors are reported and answers are written when it returns.
pub fn run(flags: Flags) -> Exit {
    log_to_stderr(flags.common.verbose);
    let json = flags.common.json;
    let is_join = matches!(flags.command, Command::Join(_));
    let stdout_is_sound =
        matches!(&flags.command, Command::Join(join) if join.output.as_deref() == Some("-"));
    let output = match stdout_is_sound {
        true => Output::stderr(json),
        false => Output::stdout(json),
    };
    let started = Signals::listen(SIGNALS).and_then(|signals| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        Ok((signals, runtime))
    });
    let (mut signals, runtime) = match started {
        Ok(started) => started,
        Err(error) => {
            let message = format!("cannot start: {error}");
            output.fail(&Failure::new(Exit::Other, "runtime", message));
            return Exit::Other;
        }
    };
    let result = runtime.block_on(dispatch(flags, output, &mut signals));
    // Does not wait for threads that are blocked on a disk or a name server.
    runtime.shutdown_background();
    // From here on the program only waits for the reader of its answer.
    signals.end_at_once();
    let exit = match result {
        Ok(exit) => exit,
        Err(failure) => {
            output.fail(&failure);
            failure.exit
        }
    };
    if is_join {
        // A call has no answer to wait for.
        return exit;
    }
    match output.wait() {
        Err(error) if exit == Exit::Done => {
            let failure = Failure::from(error);
            // As text on standard error: standard output does not work.
            print_on_stderr(&format!("confab: {}", failure.message));
            failure.exit
        }
        _ => exit,
    }
}

async fn dispatch(flags: Flags, output: Output, signals: &mut Signals) -> Result<Exit, Failure> {
    let context = &Context {
        common: flags.common,
        output,
    };
    match flags.command {
        Command::Register(flags) => once(account::register(context, flags), signals).await,
        Command::Login(flags) => once(account::login(context, flags), signals).await,
        Command::Logout => once(account::logout(context), signals).await,
        Command::Whoami => once(account::whoami(context), signals).await,
        Command::Passwd(flags) => once(account::passwd(context, &flags), signals).await,
        Command::Account(command) => once(account::data(context, command), signals).await,
        Command::Sessions(command) => once(session::run(context, command), signals).await,
        Command::Conference(command) => once(conference::run(context, command), signals).await,
        // It deals with signals itself: it leaves the room first.
        Command::Join(flags) => Box::pin(join::run(context, *flags, signals)).await,
    }
}

/// Runs a command other than `join` until it ends or a signal comes.
async fn once(
    command: impl Future<Output = Result<(), Failure>>,
    signals: &mut Signals,
) -> Result<Exit, Failure> {
    tokio::select! {
        result = command => result.map(|()| Exit::Done),
        signal = signals.next() => Ok(ended_by(signal)),
    }
}

/// Exit code of a command other than `join` that a signal ended.
fn ended_by(signal: Signal) -> Exit {
    match signal {
        Signal::Interrupt => Exit::Interrupted,
        Signal::Terminate => Exit::Terminated,
        Signal::Hangup => Exit::HungUp,
    }
}

/// The context of every command.
struct Context {
    common: Common,
    output: Output,
}

impl Context {
    /// Where the server is and what vouches for it.
    async fn access(&self) -> Result<Access, Failure> {
        let store = Store::open(self.common.config_dir.clone()).await?;
        let server = match &self.common.server {
            Some(server) => server.clone(),
            None => last_server(&store).await?,
        };
        let trust = match (self.common.ca.clone(), self.common.fingerprint) {
            (Some(path), _) => {
                // Reading may block, for example on a named pipe.
                let reading = tokio::task::spawn_blocking(move || Trust::from_pem_file(&path));
                reading.await.map_err(|error| {
                    let message = format!("cannot read --ca: {error}");
                    Failure::new(Exit::Other, "thread", message)
                })??
            }
            (None, Some(pin)) => Trust::Pinned {
                pin,
                source: PinSource::Flag,
            },
            (None, None) => match store.known_server(&server.to_string()).await? {
                Some(how) => Trust::remembered(how, &store.known_servers_path()).await?,
                None => Trust::Unknown,
            },
        };
        Ok(Access::new(server, trust, store).await?)
    }

    /// A connection that speaks for the account.
    async fn signed_in(&self) -> Result<(Access, Link), Failure> {
        let mut access = self.access().await?;
        let link = access.open_signed_in().await?.0;
        Ok((access, link))
    }

    /// Signs in, prints what `report` returns, and closes the connection.
    async fn signed_in_report<R: Printed>(
        &self,
        report: impl AsyncFnOnce(&Access, &Link) -> Result<R, Failure>,
    ) -> Result<(), Failure> {
        let (access, link) = self.signed_in().await?;
        self.output.print(&report(&access, &link).await?);
        link.close().await;
        Ok(())
    }
}

async fn last_server(store: &Store) -> Result<Server, Failure> {
    let last = store.sessions().await?.last_server.ok_or_else(|| {
        Failure::usage("which server? Name it with --server HOST or in CONFAB_SERVER; after a login it is remembered")
    })?;
    last.parse()
        .map_err(|error: BadServer| Failure::usage(error.to_string()))
}

fn log_to_stderr(verbose: u8) {
    // Own crates only: what lies underneath logs addresses.
    let level = match verbose {
        0 => "confab=warn",
        1 => "confab=debug",
        _ => "confab=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(confab_console::logs(Form::Text))
        .finish();
    // Only a program that uses this as a library could have set one before; then that one is right.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
