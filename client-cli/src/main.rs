//! Flags to the library, its answer to an exit code.

use confab::flags::Flags;

fn main() {
    confab_console::run(|| match confab_console::parse::<Flags>() {
        Ok(flags) => confab::commands::run(flags) as u8,
        Err(code) => code,
    })
}
