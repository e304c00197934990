//! `confab-load`: flags, and the library.

use confab_benches::load::flags::Flags;
use confab_benches::load::run::run;
use confab_benches::program;

fn main() {
    confab_console::run(|| match confab_console::parse::<Flags>() {
        Ok(flags) => program::run("confab-load", run(&flags, program::interrupted())),
        Err(code) => code,
    })
}
