//! What is said: lines for a person, or a JSON object for a program.
//!
//! Names, titles, reasons and the server's messages were written by others, and a server may be hostile. All of it goes
//! through one function for lines and one for JSON on its way out, so that no character of it commands a terminal or looks
//! like something else.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use confab_protocol::control::text;
use serde::Serialize;

use crate::failure::Failure;

/// Something to say. Its JSON form has the field `event`.
pub trait Say: Serialize {
    /// For a person, where it is one line; `None` when only a program wants to know. A line break in it is shown as an
    /// escape.
    fn text(&self) -> Option<String> {
        None
    }

    /// For a person, line by line.
    fn lines(&self) -> Vec<String> {
        self.text().into_iter().collect()
    }
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
            self.put(&line_for_program(&line));
            return;
        }
        let lines = what.lines();
        let lines: Vec<_> = lines.iter().map(|line| line_for_person(line)).collect();
        if !lines.is_empty() {
            self.put(&lines.join("\n"));
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
            say_to_person(&format!("confab: {}", failure.message));
        }
    }

    fn put(&self, shown: &str) {
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody reads any more: that ends no call.
        let _ = writeln!(to, "{shown}").and_then(|()| to.flush());
    }
}

/// A line on standard error, whatever the form of the output: for what concerns the person and no program.
pub fn say_to_person(line: &str) {
    eprintln!("{}", line_for_person(line));
}

/// What every line for a person goes through.
fn line_for_person(line: &str) -> Cow<'_, str> {
    text::escaped(line)
}

/// What every JSON object for a program goes through. Its value stays the same.
fn line_for_program(json: &str) -> Cow<'_, str> {
    text::json_escaped(json)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const HOSTILE: &str = "a\u{1b}[2J\u{202e}b\r\nconfab: all is well\u{e0041}";

    #[derive(Serialize)]
    struct Told {
        event: &'static str,
        reason: String,
    }

    impl Say for Told {
        fn lines(&self) -> Vec<String> {
            vec!["first".into(), format!("because {}", self.reason)]
        }
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn said(json: bool, say: impl FnOnce(&Output)) -> String {
        let written = Written::default();
        say(&Output::new(json, Box::new(written.clone())));
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn what_others_wrote_reaches_nobody_raw() {
        let told = Told {
            event: "left",
            reason: HOSTILE.into(),
        };
        let text = said(false, |output| output.say(&told));
        assert_eq!(
            text,
            "first\nbecause a\\u{1b}[2J\\u{202e}b\\u{d}\\u{a}confab: all is well\\u{e0041}\n"
        );
        let failure = Failure::new(crate::failure::Exit::Other, "other", HOSTILE);
        let json = said(true, |output| {
            output.say(&told);
            output.fail(&failure);
        });
        let lines: Vec<_> = json.lines().collect();
        assert_eq!(lines.len(), 2);
        for (line, field) in lines.into_iter().zip(["reason", "message"]) {
            assert_eq!(text::check(line), Ok(()));
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(value[field], HOSTILE);
        }
    }
}
