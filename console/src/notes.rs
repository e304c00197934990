//! Lines that tell how many lines were dropped.

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use crate::queue::{Class, Form};

/// Target of these log lines.
const TARGET: &str = "confab_console";

/// The line that tells that `count` lines of `class` were dropped.
pub(crate) fn missed(class: Class, form: Form, count: u64) -> String {
    match (class, form) {
        (Class::Log, Form::Text) => {
            format!("{}  WARN {TARGET}: {count} log lines were dropped", now())
        }
        (Class::Log, Form::Json) => format!(
            r#"{{"timestamp":"{}","level":"WARN","fields":{{"message":"{count} log lines were dropped","count":{count}}},"target":"{TARGET}"}}"#,
            now()
        ),
        (_, Form::Text) => format!("({count} lines are missing here: they were not read in time)"),
        (_, Form::Json) => format!(r#"{{"event":"missed","count":{count}}}"#),
    }
}

/// The time of day in the format of the log.
fn now() -> String {
    let mut text = String::new();
    // Formatting into a string fails only if the clock cannot be read; the line then has no time.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_json_and_people_get_text() {
        for class in [Class::Event, Class::Log] {
            let text = missed(class, Form::Json, 12);
            let value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
            let count = value
                .get("count")
                .or_else(|| value["fields"].get("count"))
                .expect("it has a count");
            assert_eq!(*count, 12);
            assert!(missed(class, Form::Text, 12).contains("12 l"));
        }
        assert!(missed(Class::Log, Form::Text, 1).starts_with("20"));
    }
}
