//! Escaping of all output. Every line that a program writes passes one of these functions, so text from other people cannot
//! control a terminal or forge a log line. This is the only place that decides which characters are shown.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Escapes text of one or more lines for a person: characters that are not shown become `\u{…}`. Line breaks stay.
pub fn text(raw: &str) -> Cow<'_, str> {
    escaped(
        raw,
        |c| c == '\n' || is_shown(c),
        |out, c| {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        },
    )
}

/// Escapes text of one line for a person, line breaks included.
pub fn line(raw: &str) -> Cow<'_, str> {
    escaped(raw, is_shown, |out, c| {
        let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
    })
}

/// Escapes a JSON value of one line: characters that are not shown become `\uXXXX`. The value stays the same.
pub fn json(raw: &str) -> Cow<'_, str> {
    escaped(raw, is_shown, |out, c| {
        let mut units = [0; 2];
        for unit in c.encode_utf16(&mut units) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    })
}

/// True for characters that are written unchanged.
fn is_shown(c: char) -> bool {
    c == '\t' || !c.is_control()
}

fn escaped(
    raw: &str,
    keep: impl Fn(char) -> bool,
    escape: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    if raw.chars().all(&keep) {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len() + 16);
    for c in raw.chars() {
        if keep(c) {
            out.push(c);
        } else {
            escape(&mut out, c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_terminal_is_told_nothing_by_what_others_wrote() {
        assert_eq!(text("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\nc");
        assert_eq!(line("a\nb\u{9b}31m"), "a\\u{a}b\\u{9b}31m");
        assert_eq!(text("plain — ünïcode"), "plain — ünïcode");
    }

    proptest! {
        #[test]
        fn json_means_the_same_to_a_program(value: String) {
            let raw = serde_json::to_string(&value).expect("text is JSON");
            let shown = json(&raw);
            prop_assert!(shown.chars().all(is_shown));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).expect("still JSON"), value);
        }
    }
}
