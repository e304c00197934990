//! Why a character has no place in a text.

use std::fmt;

/// Most combining marks in a row. Scripts that stack marks need seven (Burmese); what piles up more covers other lines.
pub const MAX_MARKS: usize = 8;

/// Why a character is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A control character, line and paragraph separators included.
    Control,
    /// It turns the direction of text.
    Direction,
    /// Nothing is seen of it.
    Invisible,
    /// This version of Unicode does not have it.
    Unassigned,
    /// It means what its users agree on.
    PrivateUse,
    /// A code that is no character and never will be.
    Noncharacter,
    /// A part of a Hangul syllable that does not stand in one.
    OldHangul,
    /// RFC 5892 §2.6 excludes it.
    Excluded,
    /// A joiner with nothing to join or to keep apart.
    Joiner,
    /// A visible character outside the places of RFC 5892 A.3 to A.9; in passwords alone.
    Misplaced,
    /// More than [`MAX_MARKS`] in a row.
    Marks,
    /// A mark with nothing to combine with.
    LooseMark,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control => "a control character",
            Self::Direction => "a character that turns the direction of text",
            Self::Invisible => "an invisible character",
            Self::Unassigned => "a character that Unicode does not have yet",
            Self::PrivateUse => "a character of private use",
            Self::Noncharacter => "a code that is no character",
            Self::OldHangul => "a part of a Hangul syllable by itself",
            Self::Excluded => "a character that RFC 5892 excludes",
            Self::Joiner => "an invisible joiner where it joins nothing",
            Self::Misplaced => "a character that RFC 5892 allows in other places only",
            Self::Marks => return write!(f, "more than {MAX_MARKS} combining marks in a row"),
            Self::LooseMark => "a combining mark with nothing before it",
        })
    }
}
