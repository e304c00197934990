//! A sliding window that lets each number pass once (the method of RFC 6479: a ring of words, never shifted).

/// Numbers below the highest one seen that are still told apart.
pub const REPLAY_WINDOW: u64 = 1024;

const WORD_BITS: u64 = 64;
/// One word more than the window needs, so that the newest word can fill while the oldest still counts.
const WORDS: usize = (REPLAY_WINDOW / WORD_BITS) as usize + 1;

/// Why a number may not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It has passed before.
    #[error("seen before")]
    Seen,
    /// It is [`REPLAY_WINDOW`] or more below the highest seen: nobody remembers whether it has passed.
    #[error("too old to tell")]
    TooOld,
    /// It is `u64::MAX`: there is no number above it.
    #[error("too high")]
    TooHigh,
}

/// Remembers which of the last [`REPLAY_WINDOW`] numbers have passed.
///
/// What was forged must not move the window: a number passes only together with what authenticates it
/// ([`admit`](Self::admit)), or after it was authenticated ([`commit`](Self::commit)).
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    /// One above the highest number committed; 0 before the first.
    next: u64,
    seen: [u64; WORDS],
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

impl ReplayWindow {
    /// A window that has seen nothing.
    pub const fn new() -> Self {
        Self {
            next: 0,
            seen: [0; WORDS],
        }
    }

    /// The highest number committed.
    pub const fn highest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// Lets `number` pass, once, if it is new and `authenticate` succeeds; gives what `authenticate` gave.
    ///
    /// `authenticate` is not called for a number that has passed before. When it fails, nothing has changed.
    pub fn admit<T, E: From<ReplayError>>(
        &mut self,
        number: u64,
        authenticate: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let next = self.next_after(number)?;
        let authentic = authenticate()?;
        self.set(number, next);
        Ok(authentic)
    }

    /// Lets `number` pass, once. What it numbers has been authenticated before.
    pub fn commit(&mut self, number: u64) -> Result<(), ReplayError> {
        let next = self.next_after(number)?;
        self.set(number, next);
        Ok(())
    }

    /// What `next` is once `number` has passed, or why it may not pass.
    fn next_after(&self, number: u64) -> Result<u64, ReplayError> {
        if number >= self.next {
            return number.checked_add(1).ok_or(ReplayError::TooHigh);
        }
        if self.next - number > REPLAY_WINDOW {
            return Err(ReplayError::TooOld);
        }
        let (word, bit) = Self::place(number);
        if self.seen[word] & bit == 0 {
            Ok(self.next)
        } else {
            Err(ReplayError::Seen)
        }
    }

    fn set(&mut self, number: u64, next: u64) {
        if next > self.next {
            self.clear_words_between(number);
            self.next = next;
        }
        let (word, bit) = Self::place(number);
        self.seen[word] |= bit;
    }

    /// Empties the words that `number`, the new highest, enters or jumps over.
    fn clear_words_between(&mut self, number: u64) {
        let entered = number / WORD_BITS;
        let first = match self.highest() {
            Some(highest) => highest / WORD_BITS + 1,
            None => 0,
        };
        let first = first.max((entered + 1).saturating_sub(WORDS as u64));
        for word in first..=entered {
            self.seen[(word % WORDS as u64) as usize] = 0;
        }
    }

    const fn place(number: u64) -> (usize, u64) {
        let word = (number / WORD_BITS) % WORDS as u64;
        (word as usize, 1 << (number % WORD_BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn a_number_passes_once() {
        let mut window = ReplayWindow::new();
        assert_eq!(window.commit(5), Ok(()));
        assert_eq!(window.commit(5), Err(ReplayError::Seen));
        assert_eq!(window.commit(0), Ok(()));
        assert_eq!(window.highest(), Some(5));
    }

    #[test]
    fn the_window_is_exactly_as_wide_as_it_says() {
        let mut window = ReplayWindow::new();
        window.commit(5000).unwrap();
        assert_eq!(
            window.commit(5000 - REPLAY_WINDOW),
            Err(ReplayError::TooOld)
        );
        assert_eq!(window.commit(5000 - REPLAY_WINDOW + 1), Ok(()));
    }

    #[test]
    fn the_last_number_of_all_never_passes() {
        let mut window = ReplayWindow::new();
        assert_eq!(window.commit(u64::MAX), Err(ReplayError::TooHigh));
        let never = window.admit(u64::MAX, || -> Result<(), ReplayError> {
            unreachable!("a number that may not pass is not authenticated")
        });
        assert_eq!(never, Err(ReplayError::TooHigh));
        assert_eq!(window.commit(u64::MAX - 1), Ok(()));
        assert_eq!(window.commit(u64::MAX - 1), Err(ReplayError::Seen));
    }

    #[test]
    fn a_number_that_was_not_authenticated_moves_nothing() {
        let mut window = ReplayWindow::new();
        window.commit(3).unwrap();
        let forged = window.admit(1_000_000, || Err::<(), _>(ReplayError::Seen));
        assert_eq!(forged, Err(ReplayError::Seen));
        assert_eq!(window.highest(), Some(3));
        assert_eq!(window.admit(4, || Ok::<_, ReplayError>("text")), Ok("text"));
        assert_eq!(window.highest(), Some(4));
    }

    proptest! {
        /// Against a model that remembers everything.
        #[test]
        fn it_agrees_with_a_set_of_all_numbers(
            steps in prop::collection::vec((0u64..8, 0u64..3000), 1..400)
        ) {
            let mut window = ReplayWindow::new();
            let mut seen = HashSet::new();
            let mut highest: Option<u64> = None;
            for (kind, offset) in steps {
                let base = highest.unwrap_or(0);
                let number = match kind {
                    0 => base + offset,
                    1..=4 => base + offset % 3,
                    _ => base.saturating_sub(offset % 1100),
                };
                let expected = if seen.contains(&number) {
                    if base - number >= REPLAY_WINDOW { Err(ReplayError::TooOld) } else { Err(ReplayError::Seen) }
                } else if highest.is_some_and(|h| number < h && h - number >= REPLAY_WINDOW) {
                    Err(ReplayError::TooOld)
                } else {
                    Ok(())
                };
                if number % 2 == 0 {
                    prop_assert_eq!(window.commit(number), expected);
                } else {
                    prop_assert_eq!(window.admit(number, || Ok::<(), ReplayError>(())), expected);
                }
                if expected.is_ok() {
                    seen.insert(number);
                    highest = Some(highest.map_or(number, |h| h.max(number)));
                }
            }
        }
    }
}
