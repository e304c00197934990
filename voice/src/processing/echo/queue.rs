//! Blocks that were played, until a block of the microphone comes for each. Both come each 10 ms by this machine's clock, give or take
//! some: the delay between them may jump, but must not grow.

use std::collections::VecDeque;

use crate::BLOCK;

/// Blocks that wait at most.
const MOST: usize = 50;
/// Blocks of the microphone in which the fewest that waited are looked for.
const WINDOW: u32 = 100;
/// Blocks that may wait all the time.
const SPARE: usize = 1;

#[derive(Debug, Default)]
pub(super) struct Queue {
    blocks: VecDeque<[f32; BLOCK]>,
    /// The fewest that waited in this window, and its length so far.
    fewest: usize,
    seen: u32,
}

impl Queue {
    pub(super) fn push(&mut self, block: [f32; BLOCK]) {
        if self.blocks.len() == MOST {
            self.blocks.pop_front();
        }
        self.blocks.push_back(block);
    }

    /// The next block; silence where there is none.
    pub(super) fn pop(&mut self) -> [f32; BLOCK] {
        let block = self.blocks.pop_front().unwrap_or([0.0; BLOCK]);
        let waiting = self.blocks.len();
        self.fewest = match self.seen {
            0 => waiting,
            _ => self.fewest.min(waiting),
        };
        self.seen += 1;
        if self.seen == WINDOW {
            self.seen = 0;
            self.blocks.drain(..self.fewest.saturating_sub(SPARE));
        }
        block
    }

    pub(super) fn clear(&mut self) {
        self.blocks.clear();
        self.seen = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(n: usize) -> [f32; BLOCK] {
        [n as f32; BLOCK]
    }

    #[test]
    fn blocks_that_come_in_pairs_stay_in_order() {
        let mut queue = Queue::default();
        for pair in 0..1000 {
            queue.push(numbered(2 * pair));
            queue.push(numbered(2 * pair + 1));
            assert_eq!(queue.pop(), numbered(2 * pair));
            assert_eq!(queue.pop(), numbered(2 * pair + 1));
        }
    }

    #[test]
    fn what_was_played_before_the_microphone_began_is_gone_after_a_second() {
        let mut queue = Queue::default();
        for n in 0..1000 {
            queue.push(numbered(n));
            if n >= 300 {
                let late = n - queue.pop()[0] as usize;
                assert!(late <= if n < 400 { MOST } else { SPARE }, "{n}: {late}");
            }
        }
    }
}
