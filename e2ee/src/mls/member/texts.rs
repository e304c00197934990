//! Texts for the room: padded, and sealed again when the epoch changes before control takes them.

use std::collections::VecDeque;

use aws_lc_rs::rand;

/// Longest text, in bytes of UTF-8.
pub const MAX_TEXT: usize = SIZES[SIZES.len() - 1] - ID_LEN - LENGTH_LEN;

/// Texts that wait to be sent, at most.
pub const MAX_WAITING: usize = 64;

/// A plaintext has one of these lengths, so that its length tells little: `id (8) · length (2) · UTF-8 · zeros`.
const SIZES: [usize; 4] = [64, 256, 1024, 4096];
const ID_LEN: usize = 8;
const LENGTH_LEN: usize = 2;

/// Texts of others whose ids are remembered, so that none is shown twice.
const MAX_REMEMBERED: usize = 1024;

/// Names a text: random, and the same when it is sealed again.
pub(super) type TextId = [u8; ID_LEN];

/// Why a text is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// It is longer than [`MAX_TEXT`], or empty.
    #[error("a text has 1 to {MAX_TEXT} bytes")]
    Length,
    /// [`MAX_WAITING`] texts wait already.
    #[error("{MAX_WAITING} texts wait to be sent: try again in a moment")]
    TooMany,
}

/// Texts on their way to control. One at a time is under way, so that their order stays.
#[derive(Debug, Default)]
pub(super) struct Texts {
    waiting: VecDeque<(TextId, String)>,
    under_way: Option<(TextId, String)>,
    /// Of texts of others, the last ones.
    seen: VecDeque<TextId>,
}

impl Texts {
    pub(super) fn push(&mut self, text: &str) -> Result<(), TextError> {
        if text.is_empty() || text.len() > MAX_TEXT {
            return Err(TextError::Length);
        }
        if self.waiting.len() >= MAX_WAITING {
            return Err(TextError::TooMany);
        }
        let mut id = [0; ID_LEN];
        rand::fill(&mut id).expect("the system gives random bytes");
        self.waiting.push_back((id, text.to_owned()));
        Ok(())
    }

    /// The next text to seal, padded; none while one is under way.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        if self.under_way.is_some() {
            return None;
        }
        let (id, text) = self.waiting.pop_front()?;
        let padded = pad(id, &text);
        self.under_way = Some((id, text));
        Some(padded)
    }

    /// True for a text of another that has not come before.
    pub(super) fn is_new(&mut self, id: TextId) -> bool {
        if self.seen.contains(&id) {
            return false;
        }
        if self.seen.len() == MAX_REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(id);
        true
    }

    /// Texts that wait or are under way.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.under_way.is_some())
    }

    /// Control has taken the text that was under way.
    pub(super) fn accept(&mut self) {
        self.under_way = None;
    }

    /// The text that was under way has to be sealed again: its epoch is over, or the link was lost.
    pub(super) fn repeat(&mut self) {
        if let Some(text) = self.under_way.take() {
            self.waiting.push_front(text);
        }
    }
}

fn pad(id: TextId, text: &str) -> Vec<u8> {
    let needed = ID_LEN + LENGTH_LEN + text.len();
    let size = SIZES
        .into_iter()
        .find(|size| *size >= needed)
        .unwrap_or(needed);
    let mut padded = id.to_vec();
    padded.extend_from_slice(&(text.len() as u16).to_be_bytes());
    padded.extend_from_slice(text.as_bytes());
    padded.resize(size, 0);
    padded
}

/// The text of a plaintext and its id; `None` if it does not have its form.
pub(super) fn unpad(plaintext: &[u8]) -> Option<(TextId, String)> {
    if !SIZES.contains(&plaintext.len()) {
        return None;
    }
    let (id, rest) = plaintext.split_first_chunk::<ID_LEN>()?;
    let (length, rest) = rest.split_first_chunk::<LENGTH_LEN>()?;
    let (text, zeros) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let is_padded = zeros.iter().all(|byte| *byte == 0) && !text.is_empty();
    let text = String::from_utf8(text.to_vec()).ok()?;
    is_padded.then_some((*id, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TextId = [7; ID_LEN];

    #[test]
    fn a_text_of_another_is_new_once() {
        let mut texts = Texts::default();
        assert!(texts.is_new(ID));
        assert!(!texts.is_new(ID));
        for n in 0..MAX_REMEMBERED as u64 {
            assert!(texts.is_new(n.to_be_bytes()));
        }
        assert!(texts.is_new(ID), "only the last ones are remembered");
    }

    #[test]
    fn a_text_is_padded_to_few_lengths_and_read_again() {
        for text in [
            "a".to_owned(),
            "ä".repeat(27),
            "x".repeat(54),
            "x".repeat(55),
            "x".repeat(MAX_TEXT),
        ] {
            let padded = pad(ID, &text);
            assert!(SIZES.contains(&padded.len()));
            assert_eq!(unpad(&padded), Some((ID, text)));
        }
    }

    #[test]
    fn a_plaintext_in_another_form_is_refused() {
        let padded = pad(ID, "hello");
        for wrong in [vec![], padded[..63].to_vec(), vec![0; 64], vec![0xff; 64]] {
            assert_eq!(unpad(&wrong), None);
        }
        let mut dirty = padded;
        dirty[63] = 1;
        assert_eq!(unpad(&dirty), None);
    }

    #[test]
    fn a_text_whose_epoch_is_over_goes_before_the_next_one() {
        let mut texts = Texts::default();
        texts.push("one").unwrap();
        texts.push("two").unwrap();
        let first = texts.next().unwrap();
        assert_eq!(unpad(&first).unwrap().1, "one");
        assert_eq!(texts.next(), None);
        texts.repeat();
        assert_eq!(texts.next(), Some(first), "under the same id");
        assert_eq!(texts.len(), 2);
        texts.accept();
        assert_eq!(texts.len(), 1);
        assert_eq!(unpad(&texts.next().unwrap()).unwrap().1, "two");
    }

    #[test]
    fn texts_that_are_too_long_or_too_many_are_refused() {
        let mut texts = Texts::default();
        assert_eq!(texts.push(""), Err(TextError::Length));
        assert_eq!(
            texts.push(&"x".repeat(MAX_TEXT + 1)),
            Err(TextError::Length)
        );
        for _ in 0..MAX_WAITING {
            texts.push("x").unwrap();
        }
        assert_eq!(texts.push("x"), Err(TextError::TooMany));
    }
}
