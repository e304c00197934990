//! What is said: a line for a person, or a JSON object for a program.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::failure::Failure;

/// Something to say. Its JSON form has the field `event`.
pub trait Say: Serialize {
    /// For a person; `None` when only a program wants to know. May have several lines.
    fn text(&self) -> Option<String>;
}

/// Where it is said.
pub struct Output {
    json: bool,
    to: Mutex<Box<dyn Write + Send>>,
}

impl Output {
    /// To standard output.
    pub fn stdout(json: bool) -> Self {
        Self::new(json, Box::new(io::stdout()))
    }

    /// To standard error, for standard output carries sound.
    pub fn stderr(json: bool) -> Self {
        Self::new(json, Box::new(io::stderr()))
    }

    /// To anything.
    pub fn new(json: bool, to: Box<dyn Write + Send>) -> Self {
        Self {
            json,
            to: Mutex::new(to),
        }
    }

    /// Says it.
    pub fn say(&self, what: &impl Say) {
        if self.json {
            let line = serde_json::to_string(what)
                .expect("what is said is made of strings, numbers and lists");
            self.line(&line);
        } else if let Some(text) = what.text() {
            self.line(&text);
        }
    }

    /// Says why a command failed; to a person always on standard error.
    pub fn fail(&self, failure: &Failure) {
        if self.json {
            self.say(&ErrorSaid {
                event: "error",
                code: &failure.code,
                exit_code: failure.exit as u8,
                message: &failure.message,
            });
        } else {
            eprintln!("confab: {}", failure.message);
        }
    }

    fn line(&self, line: &str) {
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody reads any more: that ends no call.
        let _ = writeln!(to, "{line}").and_then(|()| to.flush());
    }
}

#[derive(Serialize)]
struct ErrorSaid<'a> {
    event: &'static str,
    code: &'a str,
    exit_code: u8,
    message: &'a str,
}

impl Say for ErrorSaid<'_> {
    fn text(&self) -> Option<String> {
        Some(self.message.to_owned())
    }
}
