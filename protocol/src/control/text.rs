//! Text that people read, and passwords: which characters have a place in it, and how others are shown.
//!
//! A title, a device's name or a server's message may have been written to deceive: to look like another one, to turn
//! the line around, or to command a terminal. One predicate ([`check`]) says which characters are harmless. What people
//! choose has to pass it; what is shown all the same is [`escaped`].
//!
//! The predicate is the FreeformClass of PRECIS (RFC 8264 §4.3) with the joiners of RFC 5892 A.1 and A.2, and with four
//! differences:
//!
//! * the emoji sequences of UTS #51 are taken: with U+FE0F, U+200D, skin tones, keycaps, flags;
//! * visible characters that RFC 5892 A.3 to A.9 ties to a place (the middle dot) are taken anywhere: names in Chinese
//!   have it between any two characters;
//! * at most [`MAX_MARKS`] combining marks stand in a row;
//! * no text begins with a combining mark.
//!
//! Classes come from the Unicode data of `icu_properties`; a character that this version of Unicode does not have is
//! refused.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use icu_normalizer::ComposingNormalizerBorrowed;
use zeroize::Zeroizing;

mod class;
mod context;
mod emoji;
mod reason;
mod scan;

use class::Class;
pub use reason::{MAX_MARKS, Reason};
use scan::{Piece, Pieces};

/// A normalized text has at most three times the bytes that it had before (Unicode FAQ on normalization).
const NFC_GROWTH: usize = 3;

/// Characters with an empty glyph that are letters, symbols or marks by their properties: the blank Braille pattern, the
/// null notehead, the filler of the small Khitan script and the blanks of Egyptian hieroglyphs. Each has its use beside
/// others, but a text of nothing else is blank.
const BLANK: [char; 5] = [
    '\u{2800}',
    '\u{1d159}',
    '\u{16fe4}',
    '\u{13441}',
    '\u{13442}',
];

/// A character that has no place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (U+{:04X})", u32::from(*character))]
pub struct Refused {
    /// Which.
    pub character: char,
    /// Why.
    pub reason: Reason,
}

/// Whether every character of `text` may be shown as it is; the error is the first that may not.
pub fn check(text: &str) -> Result<(), Refused> {
    if is_plain(text) {
        return Ok(());
    }
    let refused = Pieces::new(text).find_map(|piece| match piece {
        Piece::Fine(_) => None,
        Piece::Refused(character, reason) => Some(Refused { character, reason }),
    });
    refused.map_or(Ok(()), Err)
}

/// A text that somebody chose, as it is kept: spaces of all widths are U+0020, none of them at an end, the rest is in
/// NFC (the mappings of RFC 8265 §4.2.2). Every character of it passes [`check`].
pub fn prepared(text: &str) -> Result<String, Refused> {
    let spaced: String = text.chars().map(plain_space).collect();
    let normalizer = ComposingNormalizerBorrowed::new_nfc();
    let text = normalizer.normalize(spaced.trim_matches(' '));
    check(&text)?;
    Ok(text.into_owned())
}

/// True for a text with nothing to see.
pub fn is_blank(text: &str) -> bool {
    text.chars()
        .all(|c| class::is_space(c) || BLANK.contains(&c))
}

/// A line for people, of which every character passes [`check`]: those that do not are written as `\u{202e}`, line
/// breaks too. A text that passes comes back as it is.
pub fn escaped(text: &str) -> Cow<'_, str> {
    replaced(text, |c, out| {
        let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
    })
}

/// The beginning of a line as [`escaped`], `max` characters of it at most.
pub fn escaped_within(text: &str, max: usize) -> String {
    let mut shown = escaped(text);
    loop {
        let cut: String = shown.chars().take(max).collect();
        // What comes after a joiner may be what it joins. Each turn leaves fewer characters that are not ASCII.
        let again = escaped(&cut).into_owned();
        if again.chars().count() <= max {
            return again;
        }
        shown = again.into();
    }
}

/// Shown as [`escaped`]: for a log, where what is shown may hold what others wrote.
#[derive(Debug, Clone, Copy)]
pub struct Shown<T>(pub T);

impl<T: fmt::Display> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(&self.0.to_string()))
    }
}

/// A whole JSON text with the same value, of which every character but line feeds passes [`check`]: those that do not
/// are written as `\u202e`, beyond U+FFFF in two such halves. A text that passes comes back as it is.
///
/// `json` has to be JSON: outside of strings only ASCII is JSON, so that what is replaced stands in a string.
pub fn json_escaped(json: &str) -> Cow<'_, str> {
    replaced(json, |c, out| match c {
        '\n' => out.push(c),
        // A string has neither, so that it is the space between two values.
        '\t' | '\r' => out.push(' '),
        c => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    })
}

/// A password as it is hashed, by the OpaqueString profile (RFC 8265 §4.2): spaces of all widths are U+0020, the rest is
/// in NFC, and every character is of the FreeformClass with all rules of RFC 5892, appendix A. The reason does not tell
/// which character is refused.
pub fn opaque(password: &str) -> Result<Zeroizing<String>, Reason> {
    let mut spaced = Zeroizing::new(String::with_capacity(password.len()));
    spaced.extend(password.chars().map(plain_space));
    // No piece of it is left behind by a buffer that had to grow.
    let mut normal = Zeroizing::new(String::with_capacity(NFC_GROWTH * spaced.len()));
    // Writing to a string does not fail.
    let _ = ComposingNormalizerBorrowed::new_nfc().normalize_to(&spaced, &mut *normal);
    let mut characters = Zeroizing::new(Vec::with_capacity(normal.len()));
    characters.extend(normal.chars());
    for (at, &c) in characters.iter().enumerate() {
        match class::of(c) {
            Class::Valid => {}
            Class::Contextual if context::belongs(&characters, at) => {}
            Class::Contextual => return Err(Reason::Misplaced),
            Class::Joiner => {
                let before = characters[..at].iter().rev().copied();
                let after = characters[at + 1..].iter().copied();
                if !context::joins(c, before, after) {
                    return Err(Reason::Joiner);
                }
            }
            Class::Refused(reason) => return Err(reason),
        }
    }
    Ok(normal)
}

fn replaced(text: &str, mut replace: impl FnMut(char, &mut String)) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut changed = false;
    for piece in Pieces::new(text) {
        match piece {
            Piece::Fine(fine) => out.push_str(fine),
            Piece::Refused(c, _) => {
                replace(c, &mut out);
                changed = true;
            }
        }
    }
    if changed {
        Cow::Owned(out)
    } else {
        Cow::Borrowed(text)
    }
}

/// Most text is: it passes without a look at any table.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn plain_space(c: char) -> char {
    if class::is_space(c) { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Texts that come near the rules: letters, marks, joiners, emoji and what is refused, mixed.
    fn near_the_rules() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            any::<char>().prop_map(String::from),
            "[ -~]{0,3}".prop_map(String::from),
            prop::sample::select(vec![
                "\u{200c}",
                "\u{200d}",
                "\u{fe0f}",
                "\u{20e3}",
                "\u{301}",
                "\u{302}",
                "\u{94d}",
                "क",
                "ب",
                "ا",
                "ی",
                "❤",
                "👩",
                "🏽",
                "🏴",
                "1",
                "#",
                "🇩",
                "\u{e0067}",
                "\u{e007f}",
                "\u{202e}",
                "\n",
                "\u{3164}",
                "\u{2800}",
                "\u{a0}",
                "한",
                "\u{1112}",
                "\u{1161}",
                "\u{11ab}",
                "\u{344}",
                "·",
                "\\",
                "\"",
                "{",
            ])
            .prop_map(String::from),
            prop::collection::vec(
                prop::sample::select(vec!['\u{301}', '\u{64b}', '\u{200c}']),
                0..12
            )
            .prop_map(|marks| marks.into_iter().collect::<String>()),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    #[test]
    fn what_deceives_is_refused() {
        for (text, reason) in [
            ("a\u{61c}b", Reason::Direction),
            ("a\u{202e}b", Reason::Direction),
            ("a\u{ad}b", Reason::Invisible),
            ("a\u{2060}b", Reason::Invisible),
            ("a\u{180e}b", Reason::Invisible),
            ("a\u{e0041}b", Reason::Invisible),
            ("a\u{fff9}b", Reason::Invisible),
            ("a\u{3164}b", Reason::Invisible),
            ("a\u{fe0f}b", Reason::Invisible),
            ("a\u{200b}b", Reason::Invisible),
            ("a\u{1b}[31mb", Reason::Control),
            ("a\u{9b}31mb", Reason::Control),
            ("a\nb", Reason::Control),
            ("a\u{7f}b", Reason::Control),
            ("a\u{200d}b", Reason::Joiner),
            ("\u{301}a", Reason::LooseMark),
            ("a\u{e000}", Reason::PrivateUse),
            ("a\u{fffe}", Reason::Noncharacter),
            ("a\u{378}", Reason::Unassigned),
        ] {
            assert_eq!(
                check(text).map_err(|refused| refused.reason),
                Err(reason),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_people_write_passes() {
        for text in [
            "",
            "Friday night",
            "Ünïcödé",
            "金曜の夜",
            "威廉·莎士比亚",
            "می\u{200c}خواهم",
            "नमस्ते",
            "שלום עולם",
            "👨‍👩‍👧‍👦 family",
            "❤️ & 1️⃣",
            "🏴󠁧󠁢󠁳󠁣󠁴󠁿",
            "🇩🇪🇫🇷",
            "👍🏿",
            "e\u{301}",
            "ကြွှေ့",
            "⠓⠑⠇⠇⠕⠀⠺",
            "½ ﬁ ™",
        ] {
            assert_eq!(check(text), Ok(()), "{text:?}");
            assert!(matches!(escaped(text), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn marks_are_piled_up_no_higher_than_scripts_need() {
        let pile = |marks| format!("a{}b", "\u{301}".repeat(marks));
        assert_eq!(check(&pile(MAX_MARKS)), Ok(()));
        assert_eq!(
            check(&pile(MAX_MARKS + 1)).unwrap_err().reason,
            Reason::Marks
        );
        // A joiner does not rest on what comes after marks that are refused.
        let far = format!("ب\u{200c}{}ب", "\u{64b}".repeat(MAX_MARKS + 1));
        assert_eq!(check(&escaped(&far)), Ok(()));
        assert_eq!(check(&far).unwrap_err().reason, Reason::Joiner);
        // Neither a joiner between them nor a keycap under them begins a new pile.
        let joined = format!("क{}\u{94d}\u{200d}\u{301}", "\u{301}".repeat(MAX_MARKS - 1));
        assert_eq!(check(&joined).unwrap_err().reason, Reason::Marks);
        let keycap = format!("1\u{fe0f}\u{20e3}{}", "\u{301}".repeat(MAX_MARKS));
        assert_eq!(check(&keycap).unwrap_err().reason, Reason::Marks);
        assert_eq!(
            escaped(&pile(MAX_MARKS + 1)),
            format!("a{}\\u{{301}}b", "\u{301}".repeat(MAX_MARKS))
        );
    }

    #[test]
    fn a_text_is_shown_on_one_line_and_loses_nothing() {
        assert_eq!(Shown("a\nb").to_string(), "a\\u{a}b");
        assert_eq!(
            escaped("a\u{1b}[2J\r\nb\u{202e}"),
            "a\\u{1b}[2J\\u{d}\\u{a}b\\u{202e}"
        );
        assert_eq!(
            json_escaped("[\"a\u{202e}\u{e0041}\u{7f}\"]"),
            "[\"a\\u202e\\udb40\\udc41\\u007f\"]"
        );
        assert_eq!(json_escaped("{\r\n\t\"a\": 1}"), "{ \n \"a\": 1}");
    }

    #[test]
    fn text_without_a_visible_character_is_blank() {
        for blank in ["", " ", "\u{3000}\u{a0}", "\u{2800}\u{2800}", " \u{1d159}"] {
            assert!(is_blank(blank), "{blank:?}");
        }
        assert!(!is_blank("\u{2800}a"));
    }

    /// The examples of RFC 8265 §4.3.
    #[test]
    fn passwords_are_prepared_as_the_standard_says() {
        let opaque = |text: &str| opaque(text).map(|text| text.to_string());
        assert_eq!(
            opaque("correct horse battery staple").unwrap(),
            "correct horse battery staple"
        );
        assert_eq!(
            opaque("Correct Horse Battery Staple").unwrap(),
            "Correct Horse Battery Staple"
        );
        assert_eq!(opaque("πß\u{e5}").unwrap(), "πß\u{e5}");
        assert_eq!(opaque("Jack of \u{2666}s").unwrap(), "Jack of \u{2666}s");
        assert_eq!(opaque("foo\u{1680}bar").unwrap(), "foo bar");
        assert_eq!(opaque("my cat is a \u{9}by"), Err(Reason::Control));
        // Composed and decomposed are one password.
        assert_eq!(opaque("e\u{301}").unwrap(), opaque("\u{e9}").unwrap());
        assert_eq!(opaque("a\u{200d}b"), Err(Reason::Joiner));
        assert_eq!(opaque("❤\u{fe0f}"), Err(Reason::Invisible));
        assert_eq!(opaque("a·b"), Err(Reason::Misplaced));
        assert!(opaque("col·legi").is_ok());
    }

    proptest! {
        #[test]
        fn an_escaped_text_has_nothing_to_escape(text in near_the_rules()) {
            let shown = escaped(&text).into_owned();
            prop_assert_eq!(check(&shown), Ok(()), "{:?}", text);
            prop_assert_eq!(&*escaped(&shown), &shown);
            prop_assert_eq!(check(&text).is_ok(), shown == text);
        }

        #[test]
        fn the_beginning_of_a_text_has_nothing_to_escape_either(
            text in near_the_rules(), max in 0usize..30
        ) {
            let shown = escaped_within(&text, max);
            prop_assert!(shown.chars().count() <= max);
            prop_assert_eq!(check(&shown), Ok(()));
            prop_assert_eq!(&escaped_within(&shown, max), &shown);
        }

        #[test]
        fn escaped_json_has_the_same_value(key in near_the_rules(), text in near_the_rules()) {
            let value = serde_json::json!({ key: [text, 1, null] });
            for json in [value.to_string(), format!("{value:#}")] {
                let shown = json_escaped(&json).into_owned();
                prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value.clone());
                prop_assert_eq!(check(&shown.replace('\n', " ")), Ok(()));
                prop_assert_eq!(&*json_escaped(&shown), &shown);
            }
        }

        #[test]
        fn what_is_prepared_stays_as_it_is(text in near_the_rules()) {
            if let Ok(kept) = prepared(&text) {
                prop_assert_eq!(check(&kept), Ok(()));
                prop_assert_eq!(prepared(&kept), Ok(kept));
            }
            if let Ok(kept) = opaque(&text) {
                let again = opaque(&kept);
                prop_assert_eq!(again.as_deref(), Ok(&*kept));
            }
        }
    }
}
