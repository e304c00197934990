//! Emoji that are made of several characters, some of which are invisible by themselves (UTS #51 §1.4).

use icu_properties::CodePointSetData;
use icu_properties::props::{Emoji, EmojiModifier, EmojiModifierBase, RegionalIndicator};

use super::context::JOINER;

/// Asks for the colourful form of the character before it.
const EMOJI_STYLE: char = '\u{fe0f}';

/// Puts a key around the digit before it.
const KEYCAP: char = '\u{20e3}';

/// The flags that are made of tags: all that Unicode recommends for interchange (`RGI_Emoji_Tag_Sequence`). Others are
/// shown as a black flag with nothing on it, so that their tags would be invisible text.
const TAGGED_FLAGS: [&str; 3] = [
    "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
    "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
    "\u{1f3f4}\u{e0067}\u{e0062}\u{e0077}\u{e006c}\u{e0073}\u{e007f}",
];

/// Bytes of the emoji of several characters at the beginning of `text`; `None` when there is none.
///
/// Flags of two letters are not among them: each of their characters is visible by itself.
pub(super) fn sequence(text: &str) -> Option<usize> {
    let first = text.chars().next()?;
    let tagged = TAGGED_FLAGS.iter().find(|flag| text.starts_with(*flag));
    if let Some(flag) = tagged {
        return Some(flag.len());
    }
    if let Some(len) = keycap(text) {
        return Some(len);
    }
    let mut len = element(text)?;
    while let Some(next) = text[len..].strip_prefix(JOINER).and_then(element) {
        len += JOINER.len_utf8() + next;
    }
    (len > first.len_utf8()).then_some(len)
}

/// `emoji_keycap_sequence` (ED-14c).
fn keycap(text: &str) -> Option<usize> {
    let rest = text.strip_prefix(|c: char| c.is_ascii_digit() || "#*".contains(c))?;
    let rest = rest.strip_prefix(EMOJI_STYLE)?.strip_prefix(KEYCAP)?;
    Some(text.len() - rest.len())
}

/// `emoji_zwj_element` (ED-15a): a pictograph, perhaps in its colourful form or with a skin tone.
fn element(text: &str) -> Option<usize> {
    let base = text.chars().next().filter(|c| is_pictograph(*c))?;
    let rest = &text[base.len_utf8()..];
    let takes_tone = CodePointSetData::new::<EmojiModifierBase>().contains(base);
    let is_tone = |c: char| takes_tone && CodePointSetData::new::<EmojiModifier>().contains(c);
    let rest = rest
        .strip_prefix(|c| c == EMOJI_STYLE || is_tone(c))
        .unwrap_or(rest);
    Some(text.len() - rest.len())
}

/// An emoji that is a picture by itself: digits, letters of flags and skin tones are emoji too.
fn is_pictograph(c: char) -> bool {
    !c.is_ascii()
        && CodePointSetData::new::<Emoji>().contains(c)
        && !CodePointSetData::new::<RegionalIndicator>().contains(c)
        && !CodePointSetData::new::<EmojiModifier>().contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emoji_of_several_characters_are_found_whole() {
        for whole in [
            "👨‍👩‍👧",
            "❤️",
            "👩🏽‍🚀",
            "🏳️‍🌈",
            "👁️‍🗨️",
            "1️⃣",
            "#️⃣",
            "👍🏿",
            TAGGED_FLAGS[0],
        ] {
            assert_eq!(sequence(whole), Some(whole.len()), "{whole}");
            assert_eq!(sequence(&format!("{whole}x")), Some(whole.len()), "{whole}");
        }
    }

    #[test]
    fn what_only_looks_like_a_sequence_is_none() {
        let flag = '\u{1f3f4}';
        for (text, taken) in [
            ("a", None),
            ("😀", None),
            ("1\u{fe0f}", None),
            ("1\u{200d}2", None),
            ("a\u{fe0f}", None),
            ("🇩\u{200d}🇪", None),
            // The rest is judged by itself.
            ("😀\u{200d}", None),
            ("❤️\u{fe0f}", Some("❤️".len())),
            ("😀\u{200d}a", None),
        ] {
            assert_eq!(sequence(text), taken, "{text:?}");
        }
        let texas = format!("{flag}\u{e0075}\u{e0073}\u{e0074}\u{e0078}\u{e007f}");
        assert_eq!(sequence(&texas), None);
        let hidden = format!("{flag}\u{e0068}\u{e0069}\u{e007f}");
        assert_eq!(sequence(&hidden), None);
    }

    #[test]
    fn every_emoji_that_unicode_recommends_is_taken() {
        for emoji in emojis::iter().map(|emoji| emoji.as_str()) {
            assert_eq!(super::super::check(emoji), Ok(()), "{emoji:?}");
        }
    }
}
