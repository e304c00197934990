//! Text in pieces: what people may read as it is, and the characters that they may not.

use super::class::{self, Class};
use super::context;
use super::emoji;
use super::reason::{MAX_MARKS, Reason};

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// May be shown as it is.
    Fine(&'a str),
    /// May not.
    Refused(char, Reason),
}

/// Takes a text apart, in order and without a gap.
///
/// A character is judged by what stands before it since the last refused one, and by what stands after it. So a text
/// whose refused characters were replaced by ASCII letters has no refused character.
pub(super) struct Pieces<'a> {
    text: &'a str,
    /// Where the next piece begins, in bytes.
    at: usize,
    /// Where the text after the last refused character begins, in bytes.
    since: usize,
    /// Combining marks in a row before `at`.
    marks: usize,
    /// Whether a mark at `at` has something to combine with.
    has_base: bool,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            since: 0,
            marks: 0,
            has_base: false,
        }
    }

    /// What the character at `at` is, and the bytes of the piece that it begins.
    fn judge(&self, c: char, rest: &str) -> Result<usize, Reason> {
        if let Some(len) = emoji::sequence(rest) {
            return Ok(len);
        }
        let after = &rest[c.len_utf8()..];
        match class::of(c) {
            Class::Refused(reason) => Err(reason),
            Class::Joiner => {
                let before = self.text[self.since..self.at].chars().rev();
                match context::joins(c, before, self.taken(after)) {
                    true => Ok(c.len_utf8()),
                    false => Err(Reason::Joiner),
                }
            }
            Class::Valid | Class::Contextual if !class::is_mark(c) => Ok(c.len_utf8()),
            Class::Valid | Class::Contextual if !self.has_base => Err(Reason::LooseMark),
            Class::Valid | Class::Contextual if self.marks >= MAX_MARKS => Err(Reason::Marks),
            Class::Valid | Class::Contextual => Ok(c.len_utf8()),
        }
    }

    /// The characters at the beginning of `after` that are taken whatever stands before them, up to the first that is no
    /// mark.
    fn taken(&self, after: &'a str) -> impl Iterator<Item = char> + 'a {
        let mut marks = self.marks;
        after.chars().take_while(move |c| {
            marks += usize::from(class::is_mark(*c));
            class::of(*c) == Class::Valid && marks <= MAX_MARKS
        })
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let rest = &self.text[self.at..];
        let c = rest.chars().next()?;
        let judged = self.judge(c, rest);
        let len = judged.unwrap_or(c.len_utf8());
        self.at += len;
        match judged {
            Ok(_) => {
                let piece = &rest[..len];
                // A joiner hides among the marks, so that it does not end their row.
                let is_joiner = matches!(c, context::NON_JOINER | context::JOINER);
                if class::is_mark(c) {
                    self.marks += 1;
                } else if !is_joiner {
                    self.marks = usize::from(piece.chars().next_back().is_some_and(class::is_mark));
                }
                self.has_base = true;
                Some(Piece::Fine(piece))
            }
            Err(reason) => {
                (self.since, self.marks, self.has_base) = (self.at, 0, true);
                Some(Piece::Refused(c, reason))
            }
        }
    }
}
