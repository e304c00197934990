//! Something like a voice: harmonics of a pitch that never repeats itself, in syllables.
//!
//! A codec for speech takes it as speech, and no piece of it looks like another, so that a delay can be measured to the
//! sample. Recordings of people are better where they can be had: [`crate::speech`].

use std::f64::consts::TAU;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::RATE;

/// Harmonics of the pitch, the `n`th with an amplitude of 1/`n`.
const HARMONICS: usize = 14;

/// Lowest and highest pitch, in hertz.
const PITCH: (f64, f64) = (90.0, 260.0);

/// Shortest and longest time to the next pitch and loudness, in seconds.
const SYLLABLE: (f64, f64) = (0.08, 0.22);

/// Sound of the voice with this seed, so many seconds of it, at most as loud as ±0.5.
pub fn voice(seed: u64, seconds: f64) -> Vec<f32> {
    let mut random = StdRng::seed_from_u64(seed);
    let samples = (seconds * f64::from(RATE)) as usize;
    let mut out = Vec::with_capacity(samples);
    let (mut pitch, mut loudness, mut phase) = (150.0, 0.0, 0.0_f64);
    while out.len() < samples {
        let length = (random.random_range(SYLLABLE.0..SYLLABLE.1) * f64::from(RATE)) as usize;
        let to = random.random_range(PITCH.0..PITCH.1);
        let loud = random.random_range(0.3..1.0);
        for n in 0..length {
            let part = n as f64 / length as f64;
            phase = (phase + (pitch + (to - pitch) * part) / f64::from(RATE)).fract();
            let sum: f64 = (1..=HARMONICS)
                .map(|n| (n as f64 * phase * TAU).sin() / n as f64)
                .sum();
            out.push((0.25 * sum * (loudness + (loud - loudness) * part)) as f32);
        }
        (pitch, loudness) = (to, loud);
    }
    out.truncate(samples);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::align::align;

    #[test]
    fn a_voice_is_like_itself_and_like_no_other() {
        let one = voice(1, 5.0);
        assert_eq!(one.len(), 5 * RATE as usize);
        assert!(one.iter().all(|sample| sample.abs() <= 0.5));
        assert_eq!(one, voice(1, 5.0));
        let late = [vec![0.0; 4800], one.clone(), vec![0.0; 48_000]].concat();
        let found = align(&one, &late, 0).unwrap();
        assert!(
            found.correlation > 0.999 && (found.delay - 0.1).abs() < 1e-4,
            "{found:?}"
        );
        let other = align(&one, &voice(2, 7.0), 0).unwrap();
        assert!(other.correlation < 0.6, "{other:?}");
    }
}
