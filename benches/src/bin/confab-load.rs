//! `confab-load`: flags, and the library.

use std::process::ExitCode;

use clap::Parser;
use confab_benches::load::flags::Flags;
use confab_benches::load::run::run;
use confab_benches::program;

fn main() -> ExitCode {
    let flags = Flags::parse();
    program::run("confab-load", run(&flags, program::interrupted()))
}
