//! Mutual information of two discrete variables, by counting.

use std::collections::HashMap;
use std::hash::Hash;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// Shuffles whose mean is what chance alone shows.
const SHUFFLES: usize = 100;

/// Mutual information in bits, less the mean of what is found once the second of each pair is shuffled: counting finds
/// something in any finite sample.
pub fn beyond_chance<A, B>(pairs: &[(A, B)]) -> f64
where
    A: Copy + Eq + Hash,
    B: Copy + Eq + Hash,
{
    let mut random = StdRng::seed_from_u64(2);
    let mut seconds: Vec<B> = pairs.iter().map(|pair| pair.1).collect();
    let mut by_chance = 0.0;
    for _ in 0..SHUFFLES {
        seconds.shuffle(&mut random);
        let firsts = pairs.iter().map(|pair| pair.0);
        by_chance += mutual_information(firsts.zip(seconds.iter().copied()));
    }
    mutual_information(pairs.iter().copied()) - by_chance / SHUFFLES as f64
}

/// Mutual information of the pairs in bits, by their shares.
fn mutual_information<A, B>(pairs: impl Iterator<Item = (A, B)>) -> f64
where
    A: Copy + Eq + Hash,
    B: Copy + Eq + Hash,
{
    let mut joint: HashMap<(A, B), u32> = HashMap::new();
    let mut of_a: HashMap<A, u32> = HashMap::new();
    let mut of_b: HashMap<B, u32> = HashMap::new();
    let mut all = 0u32;
    for (a, b) in pairs {
        *joint.entry((a, b)).or_default() += 1;
        *of_a.entry(a).or_default() += 1;
        *of_b.entry(b).or_default() += 1;
        all += 1;
    }
    let all = f64::from(all);
    joint
        .iter()
        .map(|((a, b), count)| {
            let count = f64::from(*count);
            let independent = f64::from(of_a[a]) * f64::from(of_b[b]);
            count / all * (count * all / independent).log2()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn what_tells_all_has_the_entropy_and_what_tells_nothing_has_none() {
        let mut random = StdRng::seed_from_u64(3);
        let four: Vec<u8> = (0..4000).map(|_| random.random_range(0..4)).collect();
        let same: Vec<_> = four.iter().map(|n| (*n, *n)).collect();
        assert!((beyond_chance(&same) - 2.0).abs() < 0.01);
        let half: Vec<_> = four.iter().map(|n| (n / 2, *n)).collect();
        assert!((beyond_chance(&half) - 1.0).abs() < 0.01);
        let constant: Vec<_> = four.iter().map(|n| (0, *n)).collect();
        assert_eq!(beyond_chance(&constant), 0.0);
        // Many different values of which each comes a few times seem to tell much.
        let many: Vec<(u16, u8)> = four
            .iter()
            .map(|n| (random.random_range(0..1000), *n))
            .collect();
        assert!(mutual_information(many.iter().copied()) > 0.3);
        assert!(beyond_chance(&many).abs() < 0.03);
    }
}
