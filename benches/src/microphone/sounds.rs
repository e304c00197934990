//! Noises and a room. Seeded, so that each run is the same.

use std::f32::consts::TAU;

use confab_voice::level_dbov;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::RATE;

#[derive(Clone, Copy, Debug)]
pub(super) enum Noise {
    /// Deep, with a hum.
    Fan,
    /// All frequencies alike.
    Hiss,
    /// Somebody types.
    Keys,
}

/// Speech with a noise under it, so many dB below what is said (pauses not counted).
pub(super) fn with_noise(speech: &[f32], noise: Noise, over_db: f32) -> Vec<f32> {
    let samples = noise_of(noise, speech.len());
    let gain = gain_to(&samples, spoken_dbov(speech) + over_db);
    let mixed = speech.iter().zip(&samples);
    mixed.map(|(speech, noise)| speech + noise * gain).collect()
}

/// A noise at this level, in dB under full scale.
pub(super) fn alone(noise: Noise, wanted_dbov: f32, length: usize) -> Vec<f32> {
    let samples = noise_of(noise, length);
    let gain = gain_to(&samples, wanted_dbov);
    samples.iter().map(|sample| sample * gain).collect()
}

/// The sound that a laptop's microphone hears of its loudspeakers: 40 ms late, with 120 ms of reflections that have half of the
/// energy of what comes straight, `loss_db` quieter.
pub(super) fn in_a_room(played: &[f32], loss_db: f32) -> Vec<f32> {
    let rate = RATE as usize;
    let mut random = StdRng::seed_from_u64(3);
    let mut taps = vec![(rate * 40 / 1000, 1.0f32)];
    for _ in 0..60 {
        let ms = random.random_range(41.0..160.0f32);
        let sign = if random.random::<bool>() { 1.0 } else { -1.0 };
        let loudness = sign * 0.28 * (-(ms - 40.0) / 25.0).exp();
        taps.push(((ms * rate as f32 / 1000.0) as usize, loudness));
    }
    let gain = 10f32.powf(-loss_db / 20.0);
    let mut heard = vec![0.0; played.len()];
    for (delay, loudness) in taps {
        for (heard, played) in heard[delay..].iter_mut().zip(played) {
            *heard += gain * loudness * played;
        }
    }
    heard
}

/// The level of frames in which somebody speaks, in dB under full scale.
pub(super) fn spoken_dbov(speech: &[f32]) -> f32 {
    let loudest = level_dbov(speech);
    let spoken: Vec<f32> = speech
        .chunks_exact(960)
        .filter(|frame| level_dbov(frame) < loudest + 15.0)
        .flatten()
        .copied()
        .collect();
    level_dbov(&spoken)
}

fn gain_to(samples: &[f32], wanted_dbov: f32) -> f32 {
    10f32.powf((level_dbov(samples) - wanted_dbov) / 20.0)
}

fn noise_of(noise: Noise, length: usize) -> Vec<f32> {
    let mut random = StdRng::seed_from_u64(7);
    let mut white = move || random.random_range(-1.0..1.0f32);
    match noise {
        Noise::Hiss => (0..length).map(|_| white()).collect(),
        Noise::Fan => {
            let (mut deep, mut middle) = (0.0, 0.0);
            let sample = |n: usize| {
                deep = 0.99 * deep + 0.1 * white();
                middle = 0.9 * middle + 0.1 * white();
                deep + 0.3 * middle + 0.06 * (TAU * 120.0 * n as f32 / RATE as f32).sin()
            };
            (0..length).map(sample).collect()
        }
        Noise::Keys => {
            let mut out = vec![0.0; length];
            let mut random = StdRng::seed_from_u64(8);
            let mut at = 0;
            while at < length {
                let loudness = random.random_range(0.3..1.0f32);
                let click = random.random_range(800..2400).min(length - at);
                for (n, sample) in out[at..at + click].iter_mut().enumerate() {
                    *sample += loudness * (-(n as f32) / 300.0).exp() * white();
                }
                at += random.random_range(4000..16_000);
            }
            out
        }
    }
}
