//! Every target over its corpus, then over inputs made from that by chance: the same ones in each run, on any toolchain.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use confab_fuzz::{TARGETS, Target};
use data_encoding::HEXLOWER;

/// Longest input that is made.
const MAX_INPUT: usize = 2048;

fn replay(name: &str, inputs: usize) {
    let (_, target) = TARGETS
        .into_iter()
        .find(|(known, _)| *known == name)
        .expect("a target of this name");
    let corpus = corpus(name);
    for input in &corpus {
        run(name, target, input);
    }
    let mut chance = Chance(0x5eed);
    for _ in 0..inputs {
        run(name, target, &chance.input(&corpus));
    }
}

#[test]
fn datagrams() {
    replay("datagrams", 200_000);
}

#[test]
fn messages() {
    replay("messages", 60_000);
}

#[test]
fn text() {
    replay("text", 100_000);
}

#[test]
fn frames() {
    replay("frames", 20_000);
}

#[test]
fn jitter() {
    replay("jitter", 4000);
}

#[test]
fn call() {
    replay("call", 1500);
}

#[test]
fn mls() {
    replay("mls", 300);
}

#[test]
fn orders() {
    replay("orders", 40_000);
}

#[test]
fn relay_core() {
    replay("relay_core", 20_000);
}

/// The tracked inputs, in an order that does not depend on the machine.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let entries = fs::read_dir(&folder).expect("the target has a corpus");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
        .iter()
        .map(|path| fs::read(path).expect("a readable file"))
        .collect()
}

fn run(name: &str, target: Target, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        eprintln!(
            "the input of {name}, in hexadecimal: {}",
            HEXLOWER.encode(input)
        );
        resume_unwind(panic);
    }
}

/// SplitMix64: small, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// Mostly a seed that was changed a little.
    fn input(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        if self.below(8) == 0 {
            let length = self.below(400);
            return self.bytes(length);
        }
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(6) {
            self.change(&mut input, corpus);
        }
        input.truncate(MAX_INPUT);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(input.len());
        let length = self.below(16).min(input.len() - at);
        match self.below(6) {
            0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            1 if !input.is_empty() => input[at] = self.next() as u8,
            2 => {
                let fresh = self.bytes(length);
                input.splice(at..at, fresh);
            }
            3 => {
                input.drain(at..at + length);
            }
            4 => {
                let again = input[at..at + length].to_vec();
                let to = self.below(input.len());
                input.splice(to..to, again);
            }
            _ => {
                let other = &corpus[self.below(corpus.len())];
                let from = self.below(other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
}
