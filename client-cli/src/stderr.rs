//! Lines for the person beside the output.

use confab_console::{Class, Form, escape};

/// Writes a line for the person on standard error, in every output format.
pub(crate) fn print_on_stderr(line: &str) {
    confab_console::err().put(Class::Event, Form::Text, &escape::line(line));
}
