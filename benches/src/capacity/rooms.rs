//! How large rooms are, how many speak in them at once, and what that costs a relay.

use rand::{Rng, RngExt};

use super::Assumptions;

/// Frames that a speaker sends in a second: 20 ms each.
const FRAMES_PER_S: f64 = 50.0;

/// Sizes of gatherings, to be drawn.
pub struct Sizes {
    /// Share of gatherings that are not larger than the index and one.
    up_to: Vec<f64>,
    mean: f64,
    median_company: u32,
}

impl Sizes {
    /// A power law that is cut off at the largest gathering.
    pub fn new(exponent: f64, largest: u32) -> Self {
        let weights: Vec<f64> = (1..=largest)
            .map(|size| f64::from(size).powf(-exponent))
            .collect();
        let total: f64 = weights.iter().sum();
        let people = (1..=largest).zip(&weights);
        let people = people.map(|(size, weight)| (size, f64::from(size) * weight));
        let all: f64 = people.clone().map(|(_, people)| people).sum();
        let mut left = all / 2.0;
        let mut below_half = people.take_while(|(_, people)| {
            left -= people;
            left > 0.0
        });
        let median_company = below_half.by_ref().last().map_or(1, |(size, _)| size + 1);
        let mut so_far = 0.0;
        let up_to = weights.iter().map(|weight| {
            so_far += weight / total;
            so_far
        });
        Self {
            up_to: up_to.collect(),
            mean: all / total,
            median_company,
        }
    }

    /// People of a gathering in the mean.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Half of all people are in gatherings of so many at least.
    pub fn median_company(&self) -> u32 {
        self.median_company
    }

    pub fn draw(&self, random: &mut impl Rng) -> u32 {
        let drawn: f64 = random.random();
        let at = self.up_to.partition_point(|share| *share < drawn);
        at.min(self.up_to.len() - 1) as u32 + 1
    }
}

/// The cost of a room of some size for its relay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Processor time in a second, in nanoseconds.
    pub ns_per_s: u64,
    /// Frames in, a second.
    pub frames_in: u64,
    /// Datagrams out, a second: without a window a frame each.
    pub datagrams_out: u64,
}

/// The costs of rooms, by size.
pub struct Costs(Vec<Cost>);

impl Costs {
    /// Up to the largest room there may be.
    pub fn new(assumed: &Assumptions) -> Self {
        let cost = |size: u32| {
            let frames = speakers(assumed, size) * FRAMES_PER_S;
            let listeners = f64::from(size.saturating_sub(1));
            let us = frames * (assumed.frame_us + listeners * assumed.datagram_us);
            Cost {
                ns_per_s: (us * 1000.0).round() as u64,
                frames_in: frames.round() as u64,
                datagrams_out: (frames * listeners).round() as u64,
            }
        };
        Self((0..=assumed.max_participants).map(cost).collect())
    }

    /// Of a room of so many people.
    pub fn of(&self, people: u32) -> Cost {
        self.0[(people as usize).min(self.0.len() - 1)]
    }
}

/// How many of a room's people send at the same moment, in the mean. Alone, one says nothing: clients send no silence.
fn speakers(assumed: &Assumptions, people: u32) -> f64 {
    if people < 2 {
        return 0.0;
    }
    (assumed.speaking * f64::from(people)).min(assumed.speakers)
}

/// A time that is exponentially distributed around a mean, in whole seconds.
pub fn exponential(random: &mut impl Rng, mean_s: f64) -> u32 {
    let drawn: f64 = random.random();
    (-mean_s * (1.0 - drawn).ln()).round() as u32
}

/// How many of something happen in a moment in which `mean` are to be expected (Knuth's method, in parts that keep it exact).
pub fn poisson(random: &mut impl Rng, mean: f64) -> u32 {
    const PART: f64 = 32.0;
    let (mut left, mut count) = (mean, 0);
    while left > 0.0 {
        let limit = (-left.min(PART)).exp();
        left -= PART;
        let mut product: f64 = random.random();
        while product > limit {
            count += 1;
            product *= random.random::<f64>();
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::*;

    #[test]
    fn drawn_sizes_have_the_mean_that_is_told() {
        let sizes = Sizes::new(2.1, 1000);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        let count = 1_000_000;
        let people: u64 = (0..count).map(|_| u64::from(sizes.draw(&mut random))).sum();
        let mean = people as f64 / f64::from(count);
        assert!(
            (mean / sizes.mean() - 1.0).abs() < 0.05,
            "{mean} {}",
            sizes.mean()
        );
    }

    #[test]
    fn counts_and_times_have_the_mean_that_is_asked_for() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        let counts: u32 = (0..10_000).map(|_| poisson(&mut random, 50.0)).sum();
        assert!((f64::from(counts) / 10_000.0 - 50.0).abs() < 1.0);
        let times: u32 = (0..10_000).map(|_| exponential(&mut random, 600.0)).sum();
        assert!((f64::from(times) / 10_000.0 - 600.0).abs() < 20.0);
    }
}
