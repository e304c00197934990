//! The commands, one file for each group.

use std::sync::Arc;

use tracing_subscriber::EnvFilter;

use crate::failure::{Exit, Failure};
use crate::flags::{Command, Common, Flags};
use crate::net::server::BadServer;
use crate::net::sign_in::Access;
use crate::net::trust::PinSource;
use crate::net::{Link, Server, Trust};
use crate::output::Output;
use crate::store::Store;

mod account;
mod conference;
mod join;
mod meet;
mod password;
mod session;

/// Does what the command line says. Errors have been said when it returns.
pub fn run(flags: Flags) -> Exit {
    log_to_stderr(flags.common.verbose);
    let json = flags.common.json;
    let stdout_is_sound =
        matches!(&flags.command, Command::Join(join) if join.output.as_deref() == Some("-"));
    let output = Arc::new(if stdout_is_sound {
        Output::stderr(json)
    } else {
        Output::stdout(json)
    });
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            output.fail(&Failure::new(
                Exit::Other,
                "runtime",
                format!("cannot start: {error}"),
            ));
            return Exit::Other;
        }
    };
    let result = runtime.block_on(dispatch(flags, output.clone()));
    // A thread that waits for standard input would keep the program.
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit,
        Err(failure) => {
            output.fail(&failure);
            failure.exit
        }
    }
}

async fn dispatch(flags: Flags, output: Arc<Output>) -> Result<Exit, Failure> {
    let is_join = matches!(flags.command, Command::Join(_));
    let context = Context {
        common: flags.common,
        output,
    };
    let command = async {
        match flags.command {
            Command::Register(flags) => account::register(&context, flags).await,
            Command::Login(flags) => account::login(&context, flags).await,
            Command::Logout => account::logout(&context).await,
            Command::Whoami => account::whoami(&context).await,
            Command::Passwd(flags) => account::passwd(&context, &flags).await,
            Command::Account(command) => account::data(&context, command).await,
            Command::Sessions(command) => session::run(&context, command).await,
            Command::Conference(command) => conference::run(&context, command).await,
            // It deals with signals itself: it leaves the room first.
            Command::Join(flags) => return Box::pin(join::run(&context, *flags)).await,
        }
        .map(|()| Exit::Done)
    };
    if is_join {
        return command.await;
    }
    tokio::select! {
        result = command => result,
        Ok(()) = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    }
}

/// What every command has.
struct Context {
    common: Common,
    output: Arc<Output>,
}

impl Context {
    /// Where the server is and what vouches for it.
    async fn access(&self) -> Result<Access, Failure> {
        let store = Store::open(self.common.config_dir.clone())?;
        let server = match &self.common.server {
            Some(server) => server.clone(),
            None => last_server(&store)?,
        };
        let trust = match (&self.common.ca, self.common.fingerprint) {
            (Some(path), _) => Trust::from_pem_file(path)?,
            (None, Some(pin)) => Trust::Pinned {
                pin,
                source: PinSource::Flag,
            },
            (None, None) => match store.known_server(&server.to_string())? {
                Some(how) => Trust::remembered(how, &store.known_servers_path()).await?,
                None => Trust::Unknown,
            },
        };
        Ok(Access::new(server, trust, store)?)
    }

    /// A connection that speaks for the account.
    async fn signed_in(&self) -> Result<(Access, Link), Failure> {
        let mut access = self.access().await?;
        let link = access.open_signed_in().await?.0;
        Ok((access, link))
    }
}

fn last_server(store: &Store) -> Result<Server, Failure> {
    let last = store.sessions()?.last_server.ok_or_else(|| {
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
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .finish();
    // Only a program that uses this as a library could have set one before; then that one is right.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
