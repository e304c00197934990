//! The writer for `tracing`: standard error, without waiting.

use std::io::{self, Write};

use crate::channel::err;
use crate::queue::{Class, Form};

/// Makes the writers of a subscriber. The subscriber must not use ANSI colours: they would be escaped.
pub fn logs(form: Form) -> impl Fn() -> LogLine + Send + Sync + 'static {
    move || LogLine(form)
}

/// Writer of one log line. Each call of `write` is one line.
#[derive(Debug)]
pub struct LogLine(Form);

impl Write for LogLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        err().put(Class::Log, self.0, &String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
