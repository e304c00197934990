//! Output of the program: a line for a person, or a JSON object for a program.
//!
//! Names, titles, reasons and the server's messages were written by others, and a server may be hostile. All of it is escaped
//! by the console on its way out, so that no character of it commands a terminal or looks like something else.
//!
//! Output never waits for the reader. Events that are not read in time are dropped and counted. Answers are kept; a command
//! ends with [`Output::wait`].

mod json;

use std::time::SystemTime;

use confab_console::{Channel, Class, Form, Health, WriteError, escape};
use serde::Serialize;

use crate::failure::Failure;

/// A report that can be printed. Its JSON form has the fields `event` and, added here, `time`.
pub trait Printed: Serialize {
    /// The line for a person; `None` when only a program needs it. A line break in it is shown as an
    /// escape.
    fn text(&self) -> Option<String> {
        None
    }

    /// The lines for a person.
    fn lines(&self) -> Vec<String> {
        self.text().into_iter().collect()
    }

    /// [`Class::Event`] may be dropped when the reader is slow.
    fn class(&self) -> Class {
        Class::Answer
    }
}

/// The output that reports go to.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    to: &'static Channel,
}

impl Output {
    pub fn stdout(json: bool) -> Self {
        let to = confab_console::out();
        Self { json, to }
    }

    /// To standard error, for standard output carries sound.
    pub fn stderr(json: bool) -> Self {
        let to = confab_console::err();
        Self { json, to }
    }

    pub fn print(&self, report: &impl Printed) {
        if self.json {
            let line = json::line(report, SystemTime::now());
            self.to.put(report.class(), Form::Json, &line);
            return;
        }
        let lines = report.lines();
        // Line by line, so that a line break in what others wrote makes no line.
        let lines: Vec<_> = lines.iter().map(|line| escape::line(line)).collect();
        if !lines.is_empty() {
            self.to.put(report.class(), Form::Text, &lines.join("\n"));
        }
    }

    /// Reports why a command failed, in one line. As text always on standard error.
    pub fn fail(&self, failure: &Failure) {
        if self.json {
            self.print(&ErrorReport::new(failure));
        } else {
            let line = format!("confab: {}", failure.message);
            confab_console::err().put(Class::Answer, Form::Text, &escape::line(&line));
        }
    }

    /// Waits without a time limit until all answers are written.
    pub fn wait(&self) -> Result<(), WriteError> {
        self.to.wait()
    }

    /// True when standard output has no reader: the reader is gone, or the descriptor was closed from the start. It carries the
    /// events or the sound of a call. Standard error needs no reader.
    pub fn is_gone(&self) -> bool {
        confab_console::out().is_gone()
    }

    /// The write error of the output, if the last write failed.
    pub fn refusal(&self) -> Option<WriteError> {
        match self.to.health() {
            Health::Failing(error) => Some(error),
            Health::Open | Health::Gone(_) => None,
        }
    }
}

#[derive(Serialize)]
struct ErrorReport<'a> {
    event: &'static str,
    code: &'a str,
    exit_code: u8,
    message: &'a str,
}

impl<'a> ErrorReport<'a> {
    fn new(failure: &'a Failure) -> Self {
        Self {
            event: "error",
            code: &failure.code,
            exit_code: failure.exit as u8,
            message: &failure.message,
        }
    }
}

/// The failure as a line of JSON.
pub fn failure_line(failure: &Failure) -> String {
    json::line(&ErrorReport::new(failure), SystemTime::now())
}

impl Printed for ErrorReport<'_> {
    fn text(&self) -> Option<String> {
        Some(self.message.to_owned())
    }
}
