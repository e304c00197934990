//! The output of commands.

use confab_console::{Class, Form, out};
use serde_json::{Value, json};

use crate::flags::AdminFlags;

/// Writes the answer of a command.
pub(super) fn answer(text: &str) {
    out().put(Class::Answer, Form::Text, text);
}

/// Reports a change: an event and its subject, or a line.
pub(super) fn report_change(flags: &AdminFlags, (event, of): (&str, &str), text: &str) {
    match flags.json {
        true => object(&json!({ "event": event, "of": of })),
        false => answer(text),
    }
}

/// Writes an answer as JSON.
pub(super) fn object(value: &Value) {
    out().put(Class::Answer, Form::Json, &value.to_string());
}

/// Writes a remark beside the answer.
pub(super) fn note(text: &str) {
    confab_console::err().put(Class::Answer, Form::Text, text);
}

/// Writes a progress line. It may be dropped.
pub(super) fn say(line: &str) {
    out().put(Class::Event, Form::Text, line);
}
