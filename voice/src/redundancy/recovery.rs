//! The receiver's side: lost frames, from blocks and the frames that came.
//!
//! Each repair symbol is a linear equation whose unknowns are frames that have not come. The equations are kept in reduced row
//! echelon form: each is solved for one frame, its *pivot*, that stands in no other one. An equation without other unknowns is a
//! frame. Frames, equations and bytes are bounded, whatever is sent.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::symbol::{self, Coefficients, MASK_BITS, MAX_SYMBOL};
use super::{Block, gf256};

/// Frames that are kept, and equations: what a mask can reach, twice.
const MAX_KEPT: usize = 2 * MASK_BITS as usize;

/// What is further from the newest frame than this is of another stream, or too old to be played, in samples (2 s).
const FARTHEST: i64 = 2000 * crate::SAMPLES_PER_MS as i64;

/// A frame that was lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// Its start.
    pub timestamp: u32,
    /// Its packet.
    pub packet: Vec<u8>,
}

/// The frames and blocks of one sender.
#[derive(Debug, Default)]
pub struct Recovery {
    /// The newest frame's start on a line without an end, and its timestamp.
    newest: Option<(i64, u32)>,
    /// Source symbols of frames that came or were recovered.
    known: BTreeMap<i64, Vec<u8>>,
    /// By their pivots. Their other frames are newer.
    equations: BTreeMap<i64, Equation>,
}

/// A pivot's source symbol is this sum less other frames, times their coefficients.
#[derive(Debug)]
struct Equation {
    others: BTreeMap<i64, u8>,
    sum: Vec<u8>,
}

impl Recovery {
    /// Nothing has come yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a frame of `duration` samples that starts at `timestamp`, with its blocks. Gives the frames that did not come and
    /// are known now.
    pub fn push(
        &mut self,
        timestamp: u32,
        duration: u32,
        packet: &[u8],
        blocks: &[Block<'_>],
    ) -> Vec<Recovered> {
        let at = self.place(timestamp);
        let mut found = Vec::new();
        self.learn(at, packet, &mut found);
        let mut coefficients = Coefficients::of_packet(timestamp);
        let start = |bit: u32| at - i64::from(bit + 1) * i64::from(duration);
        for block in blocks {
            match *block {
                Block::Copy { age, packet } => {
                    let copied = at - i64::from(age);
                    if self.learn(copied, packet, &mut found) {
                        found.push(copied);
                    }
                }
                Block::Xor { mask, symbol } => {
                    let terms = symbol::bits(mask).map(|bit| (start(bit), 1));
                    self.add(terms.collect(), symbol, &mut found);
                }
                Block::RandomLinear { mask, symbol } => {
                    let terms = coefficients.of_mask(mask);
                    let terms = terms.map(|(bit, coefficient)| (start(bit), coefficient));
                    self.add(terms.collect(), symbol, &mut found);
                }
            }
        }
        let recovered = found.into_iter().filter_map(|at| self.recovered(at));
        let recovered = recovered.collect();
        self.forget_old();
        recovered
    }

    /// The frame's start on the line. Far from what is known, that is forgotten.
    fn place(&mut self, timestamp: u32) -> i64 {
        let (newest, its_timestamp) = *self.newest.get_or_insert((0, timestamp));
        let apart = i64::from(timestamp.wrapping_sub(its_timestamp) as i32);
        if apart.abs() > FARTHEST {
            *self = Self::new();
            self.newest = Some((0, timestamp));
            return 0;
        }
        if apart > 0 {
            self.newest = Some((newest + apart, timestamp));
        }
        newest + apart
    }

    fn recovered(&self, at: i64) -> Option<Recovered> {
        let (newest, its_timestamp) = self.newest?;
        let packet = symbol::packet_of(self.known.get(&at)?)?;
        Some(Recovered {
            // The cast wraps, as timestamps do.
            timestamp: its_timestamp.wrapping_sub((newest - at) as u32),
            packet: packet.to_vec(),
        })
    }

    /// A frame has come: it is taken out of all equations, and frames that are known by it are added to `found`. False if it was
    /// known before.
    fn learn(&mut self, at: i64, packet: &[u8], found: &mut Vec<i64>) -> bool {
        let symbol = symbol::of_packet(packet);
        if symbol.len() > MAX_SYMBOL || self.known.contains_key(&at) {
            return false;
        }
        if let Some(mut equation) = self.equations.remove(&at) {
            gf256::add_scaled(&mut equation.sum, &symbol, 1);
            self.insert(equation.others, equation.sum);
        } else {
            for equation in self.equations.values_mut() {
                if let Some(coefficient) = equation.others.remove(&at) {
                    gf256::add_scaled(&mut equation.sum, &symbol, coefficient);
                }
            }
        }
        self.known.insert(at, symbol);
        self.take_solved(found);
        true
    }

    /// Takes an equation of these frames, and adds frames that are known by it to `found`.
    fn add(&mut self, mut terms: BTreeMap<i64, u8>, symbol: &[u8], found: &mut Vec<i64>) {
        if symbol.len() > MAX_SYMBOL {
            return;
        }
        let mut sum = symbol.to_vec();
        for (at, known) in &self.known {
            if let Some(coefficient) = terms.remove(at) {
                gf256::add_scaled(&mut sum, known, coefficient);
            }
        }
        self.insert(terms, sum);
        self.take_solved(found);
    }

    /// Reduces an equation by the others, solves it for its oldest frame, and reduces the others by it.
    fn insert(&mut self, mut terms: BTreeMap<i64, u8>, mut sum: Vec<u8>) {
        for (pivot, equation) in &self.equations {
            if let Some(coefficient) = terms.remove(pivot) {
                add_terms(&mut terms, &equation.others, coefficient);
                gf256::add_scaled(&mut sum, &equation.sum, coefficient);
            }
        }
        let Some((pivot, coefficient)) = terms.pop_first() else {
            // It says what is known.
            return;
        };
        let inverse = gf256::inverse(coefficient);
        gf256::scale(&mut sum, inverse);
        for coefficient in terms.values_mut() {
            *coefficient = gf256::mul(*coefficient, inverse);
        }
        for equation in self.equations.values_mut() {
            if let Some(coefficient) = equation.others.remove(&pivot) {
                add_terms(&mut equation.others, &terms, coefficient);
                gf256::add_scaled(&mut equation.sum, &sum, coefficient);
            }
        }
        let others = terms;
        self.equations.insert(pivot, Equation { others, sum });
    }

    /// Equations without other unknowns are frames.
    fn take_solved(&mut self, found: &mut Vec<i64>) {
        let is_solved = |_: &i64, equation: &mut Equation| equation.others.is_empty();
        for (at, equation) in self.equations.extract_if(.., is_solved) {
            found.push(at);
            self.known.insert(at, equation.sum);
        }
    }

    fn forget_old(&mut self) {
        let oldest = self.newest.map_or(i64::MIN, |(at, _)| at - FARTHEST);
        self.known.retain(|at, _| *at >= oldest);
        self.equations.retain(|at, _| *at >= oldest);
        while self.known.len() > MAX_KEPT {
            self.known.pop_first();
        }
        while self.equations.len() > MAX_KEPT {
            self.equations.pop_first();
        }
    }
}

/// Adds `by` times these terms.
fn add_terms(to: &mut BTreeMap<i64, u8>, terms: &BTreeMap<i64, u8>, by: u8) {
    for (at, coefficient) in terms {
        let more = gf256::mul(*coefficient, by);
        match to.entry(*at) {
            Entry::Vacant(new) => drop(new.insert(more)),
            Entry::Occupied(mut there) => match *there.get() ^ more {
                0 => drop(there.remove()),
                sum => drop(there.insert(sum)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Code, Protection};
    use super::*;

    const DURATION: u32 = 960;

    /// Sends frames with blocks by `codes`, of which those of `lost` do not arrive; gives what was recovered, by number, and the
    /// packets.
    fn call(
        first: u32,
        packets: &[Vec<u8>],
        codes: &[Code],
        lost: &[bool],
    ) -> BTreeMap<usize, Vec<u8>> {
        let (mut protection, mut recovery) = (Protection::new(), Recovery::new());
        let mut recovered = BTreeMap::new();
        for (number, packet) in packets.iter().enumerate() {
            let timestamp = first.wrapping_add(number as u32 * DURATION);
            let blocks = protection.blocks(timestamp, DURATION, codes);
            if !lost[number] {
                for found in recovery.push(timestamp, DURATION, packet, &blocks) {
                    let ago = timestamp.wrapping_sub(found.timestamp) / DURATION;
                    let before = recovered.insert(number - ago as usize, found.packet);
                    assert_eq!(before, None, "each frame is found once");
                }
            }
            drop(blocks);
            protection.sent(timestamp, DURATION, packet);
        }
        recovered
    }

    fn packets() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let packet = prop_oneof![
            4 => prop::collection::vec(any::<u8>(), 30..80),
            1 => prop::collection::vec(any::<u8>(), 1..300),
        ];
        prop::collection::vec(packet, 40)
    }

    proptest! {
        /// One lost frame of any three in a row is recovered by the XOR of the two before.
        #[test]
        fn an_xor_of_two_frames_recovers_single_losses(
            packets in packets(), first: u32, lost_every in 3usize..9, phase in 0usize..9,
        ) {
            let lost: Vec<_> = (0..40).map(|n| n > 1 && n < 37 && (n + phase) % lost_every == 0).collect();
            let recovered = call(first, &packets, &[Code::Xor(0b11)], &lost);
            for (number, packet) in packets.iter().enumerate() {
                prop_assert_eq!(recovered.get(&number), lost[number].then_some(packet));
            }
        }

        /// A symbol beside each frame over the ten before: any losses are recovered as soon as as many frames have come after
        /// them as were lost, if that is within the window.
        #[test]
        fn a_sliding_window_recovers_any_burst_within_its_strength(
            packets in packets(), first: u32, start in 12usize..20, burst in 1usize..6,
        ) {
            let lost: Vec<_> = (0..40).map(|n| (start..start + burst).contains(&n)).collect();
            let recovered = call(first, &packets, &[Code::RandomLinear(0x3ff)], &lost);
            let expected: BTreeMap<_, _> =
                (start..start + burst).map(|n| (n, packets[n].clone())).collect();
            prop_assert_eq!(recovered, expected);
        }

        /// What is recovered is what was sent, whatever is lost and however it is protected.
        #[test]
        fn nothing_else_than_what_was_sent_is_recovered(
            packets in packets(), first: u32, lost in prop::collection::vec(prop::bool::weighted(0.3), 40),
            codes in prop::collection::vec(prop_oneof![
                (1u32..17).prop_map(Code::Copy),
                (1u16..).prop_map(Code::Xor),
                (1u16..).prop_map(Code::RandomLinear),
            ], 0..4),
        ) {
            for (number, packet) in call(first, &packets, &codes, &lost) {
                prop_assert!(lost[number]);
                prop_assert_eq!(&packet, &packets[number]);
            }
        }

        /// Every pattern of losses that leaves enough equations for its unknowns is recovered: by two symbols a frame, half of the
        /// frames of a window.
        #[test]
        fn every_pattern_within_the_strength_is_recovered(
            packets in packets(), first: u32, pattern in 0u32..256,
        ) {
            // Eight frames of which any number is lost, then frames that all come.
            let lost: Vec<_> = (0..40).map(|n| (12..20).contains(&n) && pattern & (1 << (n - 12)) != 0).collect();
            let mask = Code::RandomLinear(0xffff);
            let recovered = call(first, &packets, &[mask, mask], &lost);
            prop_assert_eq!(recovered.len() as u32, pattern.count_ones());
        }

        #[test]
        fn any_blocks_are_taken_and_little_is_kept(
            blocks in prop::collection::vec(
                (any::<u32>(), any::<u16>(), 0u8..3, prop::collection::vec(any::<u8>(), 0..40), 0u32..3000), 0..120),
        ) {
            let mut recovery = Recovery::new();
            for (timestamp, mask, kind, bytes, duration) in &blocks {
                let block = match kind {
                    0 => Block::Copy { age: u32::from(*mask), packet: bytes },
                    1 => Block::Xor { mask: *mask, symbol: bytes },
                    _ => Block::RandomLinear { mask: *mask, symbol: bytes },
                };
                let timestamp = timestamp % 200_000;
                for found in recovery.push(timestamp, *duration, bytes, &[block, block]) {
                    prop_assert!(!found.packet.is_empty());
                }
                prop_assert!(recovery.known.len() <= MAX_KEPT && recovery.equations.len() <= MAX_KEPT);
            }
        }
    }

    #[test]
    fn a_stream_that_starts_anew_forgets_what_was_before() {
        let mut recovery = Recovery::new();
        recovery.push(0, DURATION, b"one", &[]);
        let far = 1 << 30;
        assert_eq!(recovery.push(far, DURATION, b"two", &[]), []);
        let copy = Block::Copy {
            age: DURATION,
            packet: b"lost",
        };
        let found = recovery.push(far + 2 * DURATION, DURATION, b"three", &[copy]);
        let expected = Recovered {
            timestamp: far + DURATION,
            packet: b"lost".to_vec(),
        };
        assert_eq!(found, [expected]);
    }
}
