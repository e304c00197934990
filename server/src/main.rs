//! `confab-control`: parses the flags and runs the command. Control does not know the relay; here both are put into one process.

mod link;
mod mapping;
mod ports;
mod reach;
mod relay;
mod router;

use confab_console::{Class, Form, err, escape};
use confab_control::commands;
use relay::Inside;

fn main() {
    confab_console::run(|| {
        let flags = match confab_console::parse() {
            Ok(flags) => flags,
            Err(code) => return code,
        };
        match commands::run(flags, &Inside) {
            Ok(()) => 0,
            Err(error) => {
                // One line, even if the text is from a node.
                let message = format!("confab-control: {error}");
                err().put(Class::Answer, Form::Text, &escape::line(&message));
                error.exit_code()
            }
        }
    })
}
