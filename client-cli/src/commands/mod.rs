//! The commands, one file for each group.

use std::ops::ControlFlow;
use std::time::Duration;

use confab_console::{Form, Hangup, Plan, Signals};
use tracing_subscriber::EnvFilter;

use crate::failure::{Exit, Failure};
use crate::flags::{Command, Flags, Join, Place, PlaceFlag, Text};
use crate::output::Output;
use crate::stderr::print_on_stderr;

use context::Context;
use ended::ended_by;
use hot_key::HotKey;

mod account;
mod arrival;
mod conference;
mod context;
mod devices;
mod done;
mod ended;
mod hot_key;
mod join;
mod mail;
mod meet;
mod password;
mod questions;
mod session;
mod trust;

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
    let is_call = matches!(flags.command, Command::Join(_) | Command::Text(_));
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
    if is_call {
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
    let hot_key = HotKey::listen();
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
        Command::ResetPassword(flags) => once(mail::reset(context, flags), signals).await,
        Command::VerifyEmail(flags) => once(mail::verify(context, flags), signals).await,
        Command::ChangeEmail(flags) => once(mail::change(context, flags), signals).await,
        Command::Account(command) => once(account::data(context, command), signals).await,
        Command::Sessions(command) => once(session::run(context, command), signals).await,
        Command::Conference(command) => once(conference::run(context, command), signals).await,
        Command::Trust(command) => once(trust::run(context, command), signals).await,
        Command::Devices => once(devices::run(context), signals).await,
        // They deal with signals themselves: they leave the room first.
        Command::Join(flags) => Box::pin(join(context, *flags, signals, hot_key)).await,
        Command::Text(flags) => Box::pin(send_texts(context, flags, signals, hot_key)).await,
    }
}

/// `join`, by a slug or by a link.
async fn join(
    context: &Context,
    flags: Join,
    signals: &mut Signals,
    hot_key: HotKey,
) -> Result<Exit, Failure> {
    join::check(&flags)?;
    let as_guest = flags.guest.is_some();
    match destination(context, flags.place.clone(), as_guest, signals).await? {
        ControlFlow::Continue((context, place)) => {
            join::run(&context, &place, flags, signals, hot_key).await
        }
        ControlFlow::Break(ended) => Ok(ended),
    }
}

/// `text`, in the same way.
async fn send_texts(
    context: &Context,
    flags: Text,
    signals: &mut Signals,
    hot_key: HotKey,
) -> Result<Exit, Failure> {
    let as_guest = flags.guest.is_some();
    match destination(context, flags.place.clone(), as_guest, signals).await? {
        ControlFlow::Continue((context, place)) => {
            join::send_texts(&context, &place, flags, signals, hot_key).await
        }
        ControlFlow::Break(ended) => Ok(ended),
    }
}

/// The server and the conference of a call. Who follows a link has a session at its server afterwards, but for a guest.
async fn destination(
    context: &Context,
    place: PlaceFlag,
    as_guest: bool,
    signals: &mut Signals,
) -> Result<ControlFlow<Exit, (Context, Place)>, Failure> {
    let mut arrived = None;
    let arriving = async {
        let link = match place {
            PlaceFlag::Given(Place::Link(link)) => link,
            PlaceFlag::StandardInput => arrival::read_link().await?,
            PlaceFlag::Given(place @ Place::Slug(_)) => {
                arrived = Some((context.clone(), place));
                return Ok(());
            }
        };
        let context = arrival::by_link(context, &link).await?;
        if !as_guest {
            arrival::arrive(&context, &link).await?;
        }
        arrived = Some((context, Place::Link(link)));
        Ok(())
    };
    let ended = once(arriving, signals).await?;
    Ok(match arrived {
        Some(arrived) => ControlFlow::Continue(arrived),
        None => ControlFlow::Break(ended),
    })
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
