//! Escaping of all output. Every line that a program writes passes one of these functions, so foreign text cannot
//! control a terminal or forge a log line. [`confab_protocol::control::text`] decides which characters are shown.

use std::borrow::Cow;

use confab_protocol::control::text as rules;

/// Escapes text of one or more lines for a person: characters that are not shown become `\u{…}`. Line breaks stay.
pub fn text(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\n') {
        return rules::escaped(raw);
    }
    let lines: Vec<_> = raw.split('\n').map(rules::escaped).collect();
    Cow::Owned(lines.join("\n"))
}

/// Escapes text of one line for a person, line breaks included.
pub fn line(raw: &str) -> Cow<'_, str> {
    rules::escaped(raw)
}

/// Escapes a JSON value of one line: characters that are not shown become `\uXXXX`. The value stays the same.
pub fn json(raw: &str) -> Cow<'_, str> {
    rules::json_escaped(raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_of_other_people_cannot_control_a_terminal_or_forge_a_line() {
        assert_eq!(text("a\u{1b}[2Jb\nc\u{202e}d"), "a\\u{1b}[2Jb\nc\\u{202e}d");
        assert_eq!(line("a\nb\u{9b}31m"), "a\\u{a}b\\u{9b}31m");
        assert_eq!(text("plain — ünïcode"), "plain — ünïcode");
    }

    proptest! {
        #[test]
        fn escaped_text_stays_the_same_when_it_is_escaped_again(raw: String) {
            let once = line(&raw).into_owned();
            prop_assert_eq!(text(&once), once.as_str());
        }

        #[test]
        fn escaped_json_keeps_its_value(value: String) {
            let raw = serde_json::to_string(&value).expect("a string is JSON");
            let shown = json(&raw);
            prop_assert_eq!(serde_json::from_str::<String>(&shown).expect("it stays JSON"), value);
        }
    }
}
