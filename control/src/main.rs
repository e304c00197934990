//! Parses the flags and does what they say.

use std::process::ExitCode;

use clap::Parser as _;
use confab_control::commands;
use confab_control::flags::Flags;

fn main() -> ExitCode {
    match commands::run(Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("confab-control: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
