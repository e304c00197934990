//! Flags to the library, its answer to an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use confab::flags::Flags;

fn main() -> ExitCode {
    let exit = confab::commands::run(Flags::parse());
    ExitCode::from(exit as u8)
}
