//! Parses the flags and does what they say.

use std::process::ExitCode;

use clap::Parser as _;
use confab_control::commands;
use confab_control::flags::Flags;
use confab_protocol::control::text::Shown;

fn main() -> ExitCode {
    match commands::run(Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A node's refusal may be in it.
            eprintln!("confab-control: {}", Shown(&error));
            ExitCode::from(error.exit_code())
        }
    }
}
