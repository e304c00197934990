//! The class of the phone in each frame, by the signal alone: there is no transcription to align. The classes are coarse and
//! at their borders a matter of thresholds; both senders that are compared are measured by the same.
//!
//! A frame is *silence* (a pause or the closure of a stop) if it is 35 dB below the loud frames of its recording. Otherwise it
//! is voiced or not by its periodicity: the largest normalised autocorrelation at the pitch periods of 60 to 400 Hz.
//! Voiced frames are *voiced fricatives* if a quarter of their power lies above 2.5 kHz; *sonorants* (nasals, liquids, glides) if
//! nearly all of it lies below 700 Hz, or if they are 15 dB below the loud frames; else *vowels*. Unvoiced frames
//! are *bursts* of stops if they are 10 dB louder than the two frames before, and these nearly silent; else *unvoiced
//! fricatives*.

use realfft::RealFftPlanner;

use crate::RATE;

/// Samples of a frame: 20 ms.
pub const FRAME: usize = RATE as usize / 50;

/// Distances to the loud frames of the recording, in dB: of silence, of what comes before a burst, of quiet sonorants.
const SILENCE_DB: f64 = 35.0;
const BEFORE_BURST_DB: f64 = 25.0;
const SONORANT_DB: f64 = 15.0;
/// The loud frames are at this share of all that are not digital silence, by level.
const LOUD_SHARE: f64 = 0.95;
/// Quieter than this is silence in every recording, in dB of full scale.
const FLOOR_DB: f64 = -60.0;

const VOICED: f64 = 0.55;
const FRICATIVE_SHARE: f64 = 0.25;
const FRICATIVE_ABOVE_HZ: usize = 2500;
const SONORANT_SHARE: f64 = 0.9;
const SONORANT_BELOW_HZ: usize = 700;
const BURST_RISE_DB: f64 = 10.0;

/// Samples that are averaged to one before the search for periodicity: what is left has 8 kHz.
const DECIMATION: usize = 6;
/// Pitch periods, in decimated samples: 400 Hz to 60 Hz.
const PERIODS: std::ops::Range<usize> = 20..134;

/// Six classes of phones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phone {
    Silence,
    Vowel,
    Sonorant,
    VoicedFricative,
    UnvoicedFricative,
    Burst,
}

impl Phone {
    pub const ALL: [Self; 6] = [
        Self::Silence,
        Self::Vowel,
        Self::Sonorant,
        Self::VoicedFricative,
        Self::UnvoicedFricative,
        Self::Burst,
    ];

    /// Its name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::Vowel => "vowel",
            Self::Sonorant => "sonorant",
            Self::VoicedFricative => "voiced_fricative",
            Self::UnvoicedFricative => "unvoiced_fricative",
            Self::Burst => "burst",
        }
    }
}

/// The class of each whole frame of a recording.
pub fn classify(samples: &[f32]) -> Vec<Phone> {
    let levels: Vec<f64> = samples.chunks_exact(FRAME).map(level_db).collect();
    let loud = loud_db(&levels);
    let mut spectrum = Spectrum::new();
    let frames = samples.chunks_exact(FRAME).enumerate();
    frames
        .map(|(n, frame)| {
            let under = loud - levels[n];
            if under >= SILENCE_DB || levels[n] < FLOOR_DB {
                return Phone::Silence;
            }
            let (start, end) = (n * FRAME, (n + 1) * FRAME);
            let around = start.saturating_sub(FRAME / 2)..(end + FRAME / 2).min(samples.len());
            if periodicity(&samples[around]) >= VOICED {
                let (below, above) = spectrum.shares(frame);
                return match () {
                    () if above >= FRICATIVE_SHARE => Phone::VoicedFricative,
                    () if below >= SONORANT_SHARE || under >= SONORANT_DB => Phone::Sonorant,
                    () => Phone::Vowel,
                };
            }
            let before = levels[n.saturating_sub(2)..n].iter().copied();
            let before = before.fold(f64::NEG_INFINITY, f64::max);
            let is_burst = levels[n] - before >= BURST_RISE_DB && loud - before >= BEFORE_BURST_DB;
            match is_burst {
                true => Phone::Burst,
                false => Phone::UnvoicedFricative,
            }
        })
        .collect()
}

fn level_db(frame: &[f32]) -> f64 {
    let energy: f64 = frame.iter().map(|x| f64::from(*x).powi(2)).sum();
    10.0 * (energy / frame.len() as f64).max(1e-13).log10()
}

/// The level of the recording's loud frames.
fn loud_db(levels: &[f64]) -> f64 {
    let mut heard: Vec<f64> = levels
        .iter()
        .copied()
        .filter(|level| *level > FLOOR_DB)
        .collect();
    heard.sort_by(f64::total_cmp);
    let at = (heard.len() as f64 * LOUD_SHARE) as usize;
    heard.get(at).copied().unwrap_or(FLOOR_DB)
}

/// The largest normalised autocorrelation at a pitch period, at most 1.0.
fn periodicity(samples: &[f32]) -> f64 {
    let decimated: Vec<f64> = samples
        .chunks_exact(DECIMATION)
        .map(|chunk| chunk.iter().map(|x| f64::from(*x)).sum())
        .collect();
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut best = 0.0f64;
    for period in PERIODS {
        let Some(length) = decimated.len().checked_sub(period) else {
            break;
        };
        let (now, before) = (&decimated[period..], &decimated[..length]);
        let energy = product(now, now) * product(before, before);
        best = best.max(product(now, before) / energy.sqrt().max(1e-9));
    }
    best
}

/// The power of a frame by frequency.
struct Spectrum(RealFftPlanner<f64>);

impl Spectrum {
    fn new() -> Self {
        Self(RealFftPlanner::new())
    }

    /// The shares of the power below [`SONORANT_BELOW_HZ`] and above [`FRICATIVE_ABOVE_HZ`].
    fn shares(&mut self, frame: &[f32]) -> (f64, f64) {
        let transform = self.0.plan_fft_forward(FRAME);
        let mut windowed = transform.make_input_vec();
        for (n, (to, from)) in windowed.iter_mut().zip(frame).enumerate() {
            let turn = n as f64 / FRAME as f64 * std::f64::consts::TAU;
            *to = f64::from(*from) * (0.5 - 0.5 * turn.cos());
        }
        let mut bins = transform.make_output_vec();
        transform
            .process(&mut windowed, &mut bins)
            .expect("the vectors were made for this transform");
        let bin = |hertz: usize| hertz * FRAME / RATE as usize;
        let power: Vec<f64> = bins.iter().map(|bin| bin.norm_sqr()).collect();
        let sum = |range: &[f64]| range.iter().sum::<f64>();
        let all = sum(&power).max(1e-12);
        let below = sum(&power[..bin(SONORANT_BELOW_HZ)]);
        let above = sum(&power[bin(FRICATIVE_ABOVE_HZ)..]);
        (below / all, above / all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of harmonics of 120 Hz at these amplitudes, of noise, or of nothing.
    fn harmonics(amplitudes: &[(usize, f32)]) -> Vec<f32> {
        (0..RATE as usize)
            .map(|n| {
                let turn = n as f32 / RATE as f32 * std::f32::consts::TAU;
                amplitudes
                    .iter()
                    .map(|(harmonic, amplitude)| {
                        amplitude * (turn * 120.0 * *harmonic as f32).sin()
                    })
                    .sum()
            })
            .collect()
    }

    fn noise(amplitude: f32) -> Vec<f32> {
        let mut seed = 1u32;
        (0..RATE as usize)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                amplitude * ((seed >> 8) as f32 / (1 << 23) as f32 - 1.0)
            })
            .collect()
    }

    #[test]
    fn sounds_made_for_a_class_are_of_it() {
        let vowel = harmonics(&[(1, 0.1), (6, 0.1), (12, 0.08)]);
        let nasal = harmonics(&[(1, 0.1), (2, 0.05), (12, 0.01)]);
        let buzz: Vec<f32> = harmonics(&[(1, 0.1), (2, 0.05), (30, 0.08)]);
        let hiss = noise(0.1);
        let silence = vec![0.0; RATE as usize];
        let all = [&vowel[..], &silence, &hiss, &nasal, &buzz, &silence].concat();
        let phones = classify(&all);
        let second = |n: usize| &phones[n * 50 + 2..n * 50 + 48];
        for (n, phone) in [
            (0, Phone::Vowel),
            (1, Phone::Silence),
            (2, Phone::UnvoicedFricative),
            (3, Phone::Sonorant),
            (4, Phone::VoicedFricative),
            (5, Phone::Silence),
        ] {
            assert!(
                second(n).iter().all(|one| *one == phone),
                "{phone:?}: {:?}",
                second(n)
            );
        }
        assert_eq!(phones[100], Phone::Burst, "a hiss that breaks a silence");
    }
}
