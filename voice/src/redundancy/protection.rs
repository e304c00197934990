//! The sender's side: blocks of the frames so far.

use std::collections::VecDeque;

use super::symbol::{self, Coefficients, MASK_BITS};
use super::{Block, gf256};

/// Nothing older than this is sent again, in samples (320 ms): who joins later cannot hear what was said before by more.
const MAX_AGE: u32 = 320 * crate::SAMPLES_PER_MS as u32;

/// How a block combines frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// A copy of the frame so many frames before, 1 to 16.
    Copy(u32),
    /// The XOR of the frames of a mask.
    Xor(u16),
    /// A random linear combination of the frames of a mask.
    RandomLinear(u16),
}

/// The last frames of a sender, in a row without a pause and of one duration.
#[derive(Debug, Default)]
pub struct Protection {
    /// The newest first.
    packets: VecDeque<Vec<u8>>,
    /// Start and duration of the newest, in samples.
    newest: Option<(u32, u32)>,
    symbols: Vec<Vec<u8>>,
}

impl Protection {
    /// No frame was sent yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The blocks to send beside a frame that starts at `timestamp`, of the frames before it; those of codes for which there are
    /// no frames are left out.
    pub fn blocks(&mut self, timestamp: u32, duration: u32, codes: &[Code]) -> Vec<Block<'_>> {
        if !self.is_next(timestamp, duration) {
            return Vec::new();
        }
        let mut coefficients = Coefficients::of_packet(timestamp);
        let there = (self.packets.len() as u32).min(MAX_AGE / duration.max(1));
        let here = |mask: u16| mask & ((1u32 << there) - 1) as u16;
        self.symbols.clear();
        let mut made = Vec::new();
        for code in codes {
            match *code {
                Code::Copy(before) if (1..=there).contains(&before) => made.push(*code),
                Code::Xor(mask) if here(mask) != 0 => {
                    let of = symbol::bits(here(mask)).map(|bit| (bit, 1));
                    self.symbols.push(combine(&self.packets, of));
                    made.push(Code::Xor(here(mask)));
                }
                Code::RandomLinear(mask) if here(mask) != 0 => {
                    let of = coefficients.of_mask(here(mask));
                    self.symbols.push(combine(&self.packets, of));
                    made.push(Code::RandomLinear(here(mask)));
                }
                Code::Copy(_) | Code::Xor(_) | Code::RandomLinear(_) => {}
            }
        }
        let mut symbols = self.symbols.iter();
        let mut next = || symbols.next().map_or(&[][..], Vec::as_slice);
        let block = |code| match code {
            Code::Copy(before) => Block::Copy {
                age: before * duration,
                packet: &self.packets[before as usize - 1],
            },
            Code::Xor(mask) => Block::Xor {
                mask,
                symbol: next(),
            },
            Code::RandomLinear(mask) => Block::RandomLinear {
                mask,
                symbol: next(),
            },
        };
        made.into_iter().map(block).collect()
    }

    /// A frame was sent.
    pub fn sent(&mut self, timestamp: u32, duration: u32, packet: &[u8]) {
        if !self.is_next(timestamp, duration) {
            self.packets.clear();
        }
        let mut place = match self.packets.len() < MASK_BITS as usize {
            true => Vec::new(),
            false => self.packets.pop_back().unwrap_or_default(),
        };
        place.clear();
        place.extend_from_slice(packet);
        self.packets.push_front(place);
        self.newest = Some((timestamp, duration));
    }

    /// True if a frame follows the newest one without a pause, and has its duration.
    fn is_next(&self, timestamp: u32, duration: u32) -> bool {
        self.newest == Some((timestamp.wrapping_sub(duration), duration))
    }
}

fn combine(packets: &VecDeque<Vec<u8>>, of: impl Iterator<Item = (u32, u8)>) -> Vec<u8> {
    let mut sum = Vec::new();
    for (bit, coefficient) in of {
        if let Some(packet) = packets.get(bit as usize) {
            gf256::add_scaled(&mut sum, &symbol::of_packet(packet), coefficient);
        }
    }
    sum
}
