//! Which characters the FreeformClass of PRECIS takes (RFC 8264 §4.3), by the algorithm of its §8.

use icu_properties::props::{
    BidiControl, DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup,
    HangulSyllableType, JoinControl, NoncharacterCodePoint,
};
use icu_properties::{CodePointMapData, CodePointSetData};

use super::reason::Reason;

/// What a character is to the FreeformClass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Taken everywhere.
    Valid,
    /// U+200C or U+200D: taken where RFC 5892 A.1 or A.2 says so.
    Joiner,
    /// Visible, and taken where one of RFC 5892 A.3 to A.9 says so.
    Contextual,
    /// Not taken.
    Refused(Reason),
}

/// The class of `c`.
pub(super) fn of(c: char) -> Class {
    if let Some(class) = exception(c) {
        return class;
    }
    let category = category(c);
    let is_noncharacter = CodePointSetData::new::<NoncharacterCodePoint>().contains(c);
    if category == GeneralCategory::Unassigned && !is_noncharacter {
        return Class::Refused(Reason::Unassigned);
    }
    if ('\u{21}'..='\u{7e}').contains(&c) {
        return Class::Valid;
    }
    if CodePointSetData::new::<JoinControl>().contains(c) {
        return Class::Joiner;
    }
    if is_old_hangul(c) {
        return Class::Refused(Reason::OldHangul);
    }
    if is_noncharacter || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c) {
        return Class::Refused(reason(c, category, is_noncharacter));
    }
    // "HasCompat" of RFC 8264 §9.17 adds nothing to these for this class: a test compares them.
    let is_taken = GeneralCategoryGroup::Letter
        .union(GeneralCategoryGroup::Mark)
        .union(GeneralCategoryGroup::Number)
        .union(GeneralCategoryGroup::SpaceSeparator)
        .union(GeneralCategoryGroup::Symbol)
        .union(GeneralCategoryGroup::Punctuation)
        .contains(category);
    match is_taken {
        true => Class::Valid,
        false => Class::Refused(reason(c, category, is_noncharacter)),
    }
}

/// True for a combining mark.
pub(super) fn is_mark(c: char) -> bool {
    GeneralCategoryGroup::Mark.contains(category(c))
}

/// True for a space, of whatever width.
pub(super) fn is_space(c: char) -> bool {
    category(c) == GeneralCategory::SpaceSeparator
}

fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}

/// The exceptions of RFC 5892 §2.6.
fn exception(c: char) -> Option<Class> {
    Some(match c {
        '\u{df}' | '\u{3c2}' | '\u{6fd}' | '\u{6fe}' | '\u{f0b}' | '\u{3007}' => Class::Valid,
        '\u{b7}' | '\u{375}' | '\u{5f3}' | '\u{5f4}' | '\u{30fb}' => Class::Contextual,
        '\u{660}'..='\u{669}' | '\u{6f0}'..='\u{6f9}' => Class::Contextual,
        '\u{640}' | '\u{7fa}' | '\u{302e}' | '\u{302f}' | '\u{3031}'..='\u{3035}' | '\u{303b}' => {
            Class::Refused(Reason::Excluded)
        }
        _ => return None,
    })
}

fn is_old_hangul(c: char) -> bool {
    let kind = CodePointMapData::<HangulSyllableType>::new().get(c);
    matches!(
        kind,
        HangulSyllableType::LeadingJamo
            | HangulSyllableType::VowelJamo
            | HangulSyllableType::TrailingJamo
    )
}

/// What to say of a character that is not taken.
fn reason(c: char, category: GeneralCategory, is_noncharacter: bool) -> Reason {
    match category {
        _ if is_noncharacter => Reason::Noncharacter,
        _ if CodePointSetData::new::<BidiControl>().contains(c) => Reason::Direction,
        GeneralCategory::Control
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator => Reason::Control,
        GeneralCategory::PrivateUse => Reason::PrivateUse,
        _ => Reason::Invisible,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use icu_normalizer::ComposingNormalizerBorrowed;

    #[test]
    fn characters_with_a_compatible_form_are_taken_without_asking_for_it() {
        let nfkc = ComposingNormalizerBorrowed::new_nfkc();
        let mut buffer = [0; 4];
        for c in '\0'..=char::MAX {
            let refused_late = matches!(
                of(c),
                Class::Refused(Reason::Invisible | Reason::PrivateUse | Reason::Control)
            ) && !CodePointSetData::new::<DefaultIgnorableCodePoint>()
                .contains(c)
                && category(c) != GeneralCategory::Control;
            let has_compat = !nfkc.is_normalized(c.encode_utf8(&mut buffer));
            assert!(!(refused_late && has_compat), "U+{:04X}", c as u32);
        }
    }

    #[test]
    fn each_kind_of_character_is_judged_as_the_standard_says() {
        for valid in "aé漢 😀\u{a0}\u{3000}\u{301}\u{2800}ﬁ½€\u{df}\u{f0b}".chars() {
            assert_eq!(of(valid), Class::Valid, "U+{:04X}", valid as u32);
        }
        for (c, reason) in [
            ('\0', Reason::Control),
            ('\u{7f}', Reason::Control),
            ('\u{85}', Reason::Control),
            ('\u{2028}', Reason::Control),
            ('\u{61c}', Reason::Direction),
            ('\u{202e}', Reason::Direction),
            ('\u{2066}', Reason::Direction),
            ('\u{ad}', Reason::Invisible),
            ('\u{2060}', Reason::Invisible),
            ('\u{180e}', Reason::Invisible),
            ('\u{3164}', Reason::Invisible),
            ('\u{fe0f}', Reason::Invisible),
            ('\u{feff}', Reason::Invisible),
            ('\u{fff9}', Reason::Invisible),
            ('\u{e0041}', Reason::Invisible),
            ('\u{378}', Reason::Unassigned),
            ('\u{e000}', Reason::PrivateUse),
            ('\u{10fffd}', Reason::PrivateUse),
            ('\u{ffff}', Reason::Noncharacter),
            ('\u{fdd0}', Reason::Noncharacter),
            ('\u{1100}', Reason::OldHangul),
            ('\u{640}', Reason::Excluded),
        ] {
            assert_eq!(of(c), Class::Refused(reason), "U+{:04X}", c as u32);
        }
        assert_eq!(of('\u{200c}'), Class::Joiner);
        assert_eq!(of('\u{200d}'), Class::Joiner);
        assert_eq!(of('\u{b7}'), Class::Contextual);
    }
}
