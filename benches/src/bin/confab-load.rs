//! `confab-load`: flags, and the library.

use std::process::ExitCode;

use clap::Parser;
use confab_benches::load::flags::Flags;
use confab_benches::load::run::run;

fn main() -> ExitCode {
    let flags = Flags::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| {
            runtime
                .block_on(run(&flags, confab_benches::interrupted()))
                .map_err(|error| error.to_string())
        });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("confab-load: {error}");
            ExitCode::FAILURE
        }
    }
}
