//! Echo cancellation: what the speakers play is taken out of what the microphone hears.
//!
//! * `queue`: each block of the microphone gets the next one that was played;
//! * `filter`: how the room changes what is played, learnt all the time;
//! * `residual`: what the filter leaves is made softer.
//!
//! Two filters learn: one for a path that stays, which becomes exact and does not mind when somebody speaks here, and one for a path that
//! changes. Where the second is better for a while, the first takes over what it has learnt.

mod filter;
mod queue;
mod residual;
mod transform;

use super::webrtc::bounded;
use crate::BLOCK;
use filter::{FRAME, Filter, Played};
use queue::Queue;
use residual::Suppressor;
use transform::Transform;

/// How much of the path each filter expects to stay the same in a block.
const STEADY: f32 = 0.999_995;
const CHANGING: f32 = 0.998;
/// Weight of the past in the loudness of what each filter leaves.
const MEMORY: f32 = 0.9;
/// The other filter is better if it leaves this share of the power, for so many blocks.
const BETTER: f32 = 0.5;
const BETTER_FOR: u32 = 15;
/// A block of the other filter is taken if it leaves this share over the last blocks, and [`BETTER`] in this one.
const BETTER_LATELY: f32 = 0.7;
/// A filter that makes its input this many times louder, as power, has lost the path.
const LOST: f32 = 1.5;

pub(super) struct EchoCanceller {
    transform: Transform<FRAME>,
    queue: Queue,
    /// Samples that were played and are no whole block yet.
    unfinished: Vec<f32>,
    played: Played,
    steady: Filter,
    changing: Filter,
    heard_power: f32,
    steady_power: f32,
    changing_power: f32,
    better_for: u32,
    suppressor: Suppressor,
}

impl EchoCanceller {
    pub(super) fn new() -> Self {
        Self {
            transform: Transform::new(),
            queue: Queue::default(),
            unfinished: Vec::new(),
            played: Played::new(),
            steady: Filter::new(STEADY),
            changing: Filter::new(CHANGING),
            heard_power: 0.0,
            steady_power: 0.0,
            changing_power: 0.0,
            better_for: 0,
            suppressor: Suppressor::new(),
        }
    }

    /// Hears what the speakers play.
    pub(super) fn played(&mut self, pcm: &[f32]) {
        self.unfinished.extend_from_slice(pcm);
        let (blocks, rest) = self.unfinished.as_chunks::<BLOCK>();
        blocks
            .iter()
            .for_each(|block| self.queue.push(bounded(block)));
        let done = self.unfinished.len() - rest.len();
        self.unfinished.drain(..done);
    }

    /// The microphone paused: what was played meanwhile is not heard any more.
    pub(super) fn interrupt(&mut self) {
        self.queue.clear();
    }

    /// Takes the echo out of a block of the microphone.
    pub(super) fn process(&mut self, block: &mut [f32; BLOCK]) {
        let heard = bounded(block);
        let played = self.queue.pop();
        self.played.push(&mut self.transform, &played);
        let steady_echo = self.steady.echo(&mut self.transform, &self.played);
        let changing_echo = self.changing.echo(&mut self.transform, &self.played);
        let steady_left = difference(&heard, &steady_echo);
        let changing_left = difference(&heard, &changing_echo);
        self.changing
            .learn(&mut self.transform, &self.played, &changing_left);
        self.steady
            .learn(&mut self.transform, &self.played, &steady_left);
        self.compare(&heard, &steady_left, &changing_left);

        let is_changing_better = power(&changing_left) < BETTER * power(&steady_left)
            && self.changing_power < BETTER_LATELY * self.steady_power;
        let (left, echo) = match is_changing_better {
            true => (changing_left, changing_echo),
            false if power(&steady_left).is_finite() => (steady_left, steady_echo),
            false => (heard, [0.0; BLOCK]),
        };
        *block = left;
        self.suppressor.process(block, &echo);
    }

    /// Takes over what the other filter knows better, and begins anew where both are lost.
    fn compare(&mut self, heard: &[f32; BLOCK], steady: &[f32; BLOCK], changing: &[f32; BLOCK]) {
        follow(&mut self.heard_power, heard);
        follow(&mut self.steady_power, steady);
        follow(&mut self.changing_power, changing);
        let is_better = self.changing_power < BETTER * self.steady_power;
        self.better_for = if is_better { self.better_for + 1 } else { 0 };
        if self.better_for >= BETTER_FOR {
            self.steady.copy(&self.changing);
            self.steady_power = self.changing_power;
            self.better_for = 0;
        }
        let most = LOST * self.heard_power;
        for (filter, power) in [
            (&mut self.changing, &mut self.changing_power),
            (&mut self.steady, &mut self.steady_power),
        ] {
            if !power.is_finite() || *power > most {
                filter.reset();
                *power = self.heard_power;
            }
        }
    }
}

fn difference(heard: &[f32; BLOCK], echo: &[f32; BLOCK]) -> [f32; BLOCK] {
    std::array::from_fn(|at| heard[at] - echo[at])
}

fn power(block: &[f32; BLOCK]) -> f32 {
    block.iter().map(|sample| sample * sample).sum()
}

fn follow(mean: &mut f32, block: &[f32; BLOCK]) {
    *mean = MEMORY * *mean + (1.0 - MEMORY) * power(block);
}
