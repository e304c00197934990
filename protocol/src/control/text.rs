//! Text that others wrote, on its way to a terminal or a log.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` with each character that a terminal could obey, or that nobody sees, as `\u{…}`.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_shown) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_shown(c) {
            out.push(c);
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
    }
    Cow::Owned(out)
}

/// Whether a character is shown as it is: it neither controls the terminal nor turns the direction of the text.
pub(crate) fn is_shown(c: char) -> bool {
    let turns_text = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    !c.is_control() && !turns_text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_the_rest_is_as_it_was() {
        assert_eq!(escaped("Grüße 🙂"), "Grüße 🙂");
        assert_eq!(escaped("a\u{1b}[31mb\u{202e}c"), "a\\u{1b}[31mb\\u{202e}c");
    }
}
