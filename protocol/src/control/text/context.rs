//! Where characters are taken that are not taken everywhere (RFC 5892, appendix A).

use icu_properties::CodePointMapData;
use icu_properties::props::{CanonicalCombiningClass, JoiningType, Script};

/// Zero width non-joiner: keeps two letters apart that would be joined.
pub(super) const NON_JOINER: char = '\u{200c}';

/// Zero width joiner: joins two letters, or the parts of an emoji.
pub(super) const JOINER: char = '\u{200d}';

/// True when a joiner stands where it does something: A.1 for U+200C, A.2 for U+200D.
///
/// `before` is what stands before it, the nearest first; `after` is what stands after it.
pub(super) fn joins(
    joiner: char,
    before: impl Iterator<Item = char>,
    after: impl Iterator<Item = char>,
) -> bool {
    let mut before = before.peekable();
    let follows_virama = before.peek().is_some_and(|c| {
        CodePointMapData::<CanonicalCombiningClass>::new().get(*c)
            == CanonicalCombiningClass::Virama
    });
    if follows_virama || joiner != NON_JOINER {
        return follows_virama;
    }
    let joining = |c: char| CodePointMapData::<JoiningType>::new().get(c);
    let is_seen = |kind: &JoiningType| *kind != JoiningType::Transparent;
    let left = before.map(joining).find(is_seen);
    let right = after.map(joining).find(is_seen);
    matches!(
        left,
        Some(JoiningType::LeftJoining | JoiningType::DualJoining)
    ) && matches!(
        right,
        Some(JoiningType::RightJoining | JoiningType::DualJoining)
    )
}

/// True when the visible character at `at` stands where A.3 to A.9 want it.
pub(super) fn belongs(text: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| text.get(before));
    let after = text.get(at + 1);
    let is_of = |c: Option<&char>, script| c.is_some_and(|c| script_of(*c) == script);
    let has = |range: std::ops::RangeInclusive<char>| text.iter().any(|c| range.contains(c));
    match text.get(at) {
        Some('\u{b7}') => before == Some(&'l') && after == Some(&'l'),
        Some('\u{375}') => is_of(after, Script::Greek),
        Some('\u{5f3}' | '\u{5f4}') => is_of(before, Script::Hebrew),
        Some('\u{30fb}') => text.iter().any(|c| {
            matches!(
                script_of(*c),
                Script::Hiragana | Script::Katakana | Script::Han
            )
        }),
        Some('\u{660}'..='\u{669}') => !has('\u{6f0}'..='\u{6f9}'),
        Some('\u{6f0}'..='\u{6f9}') => !has('\u{660}'..='\u{669}'),
        _ => false,
    }
}

fn script_of(c: char) -> Script {
    CodePointMapData::<Script>::new().get(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joins_in(text: &str) -> bool {
        let at = text.find([NON_JOINER, JOINER]).unwrap();
        let (before, rest) = text.split_at(at);
        let mut rest = rest.chars();
        let joiner = rest.next().unwrap();
        joins(joiner, before.chars().rev(), rest)
    }

    #[test]
    fn a_joiner_is_taken_where_it_does_something() {
        // Persian, with marks between; after a virama of Devanagari, Bengali and Sinhala.
        for good in [
            "می\u{200c}خواهم",
            "ب\u{64b}\u{200c}\u{64b}ب",
            "क\u{94d}\u{200c}",
            "क\u{94d}\u{200d}ष",
            "ශ\u{dca}\u{200d}රී",
        ] {
            assert!(joins_in(good), "{good:?}");
        }
        // At an end, after a letter that joins nothing to its left, between letters that never join.
        for bad in [
            "\u{200c}ب",
            "ب\u{200c}",
            "ا\u{200c}ب",
            "a\u{200c}b",
            "ب\u{200d}ب",
            "a\u{200d}b",
        ] {
            assert!(!joins_in(bad), "{bad:?}");
        }
    }

    #[test]
    fn middle_dots_and_digits_belong_where_the_standard_says() {
        let belongs = |text: &str, c: char| {
            let text: Vec<char> = text.chars().collect();
            belongs(&text, text.iter().position(|other| *other == c).unwrap())
        };
        assert!(belongs("col·lecció", '·') && !belongs("a·b", '·'));
        assert!(belongs("͵α", '͵') && !belongs("α͵", '͵'));
        assert!(belongs("ג׳", '׳') && !belongs("a׳", '׳'));
        assert!(belongs("ア・b", '・') && !belongs("a・b", '・'));
        assert!(belongs("٣", '٣') && !belongs("٣۳", '٣') && !belongs("٣۳", '۳'));
    }
}
