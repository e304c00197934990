//! `confab-bench`: flags, and the library.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use confab_benches::demo::{self, Options};

/// Measures Confab from outside.
#[derive(Parser)]
#[command(name = "confab-bench", version)]
struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A conference of four on this machine, with real voices; says what everyone heard of everyone.
    Demo {
        /// Folder of the programs `confab`, `confab-control` and `confab-relay`. Default: the one of this program.
        #[arg(long, value_name = "DIR")]
        programs: Option<PathBuf>,
        /// Folder for the recordings and report.json; emptied before.
        #[arg(long, value_name = "DIR", default_value = "target/demo")]
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| {
            runtime.block_on(async {
                tokio::select! {
                    result = run(flags.command) => result,
                    // Dropping the run ends every program that it started.
                    () = interrupted() => Err("interrupted".to_owned()),
                }
            })
        });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("confab-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// True when what was measured is good enough.
async fn run(command: Command) -> Result<bool, String> {
    match command {
        Command::Demo { programs, out } => {
            let programs = match programs {
                Some(programs) => programs,
                None => own_folder()?,
            };
            let options = Options { programs, out };
            let report = demo::run(&options, |line| println!("{line}"))
                .await
                .map_err(|error| error.to_string())?;
            println!("\n{}", report.table());
            println!(
                "recordings and report.json: {}",
                report.recordings.display()
            );
            if !report.passed {
                println!(
                    "FAILED: a listener missed more than 1 % of a speaker, or heard something else"
                );
            }
            Ok(report.passed)
        }
    }
}

/// Waits for Ctrl-C or for being told to end.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

fn own_folder() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = program.parent().map(PathBuf::from);
    folder.ok_or_else(|| "this program is in no folder".to_owned())
}
