//! How loud a frame is, and whether somebody speaks in it.

use crate::SAMPLE_RATE;

/// The level of digital silence, in −dBov (RFC 6464 §3: 127 stands for all that is quieter).
pub const SILENCE_DBOV: f32 = 127.0;

/// The RMS level of a frame in dB under the overload point (−dBov, RFC 6464 §3, RFC 6465 §2.2): 0.0 is a full-scale
/// square wave, 3.0 a full-scale sine, 127.0 silence. An empty frame is silent; samples that are not finite count as 0.
pub fn level_dbov(pcm: &[f32]) -> f32 {
    let energy: f64 = pcm
        .iter()
        .filter(|sample| sample.is_finite())
        .map(|&sample| f64::from(sample) * f64::from(sample))
        .sum();
    let mean_square = energy / pcm.len().max(1) as f64;
    if mean_square <= 0.0 {
        return SILENCE_DBOV;
    }
    (-10.0 * mean_square.log10()).clamp(0.0, f64::from(SILENCE_DBOV)) as f32
}

/// Quieter than this is never a voice, in −dBov.
pub(crate) const QUIETEST_VOICE_DBOV: f32 = 60.0;
/// A voice stands out of the background by this much, in dB.
const VOICE_OVER_NOISE_DB: f32 = 9.0;
/// Louder than this is a voice whatever the background, in −dBov: a speaker who never pauses must not become the
/// background.
const LOUDEST_NOISE_DBOV: f32 = 35.0;
/// How fast the measured background follows a room that gets louder, in dB a second.
const NOISE_RISE_DB_PER_SECOND: f32 = 3.0;
/// How long a voice is taken to go on after its last loud frame, in samples (300 ms): word ends and short pauses.
pub(crate) const HANGOVER_SAMPLES: usize = 14_400;

/// What a frame is to the detector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activity {
    /// It stands out of the background.
    Voice,
    /// It does not, and the last one that did is at most 300 ms ago.
    Hangover,
    /// Background.
    Quiet,
}

/// Decides frame by frame whether somebody speaks: level against a measured background, with hangover.
#[derive(Clone, Debug)]
pub struct VoiceActivity {
    noise_dbov: f32,
    hangover: usize,
}

impl Default for VoiceActivity {
    fn default() -> Self {
        Self::new()
    }
}

impl VoiceActivity {
    /// A detector that takes the room for quiet until it has heard it.
    pub fn new() -> Self {
        Self {
            noise_dbov: QUIETEST_VOICE_DBOV + VOICE_OVER_NOISE_DB,
            hangover: 0,
        }
    }

    /// Hears one frame of `samples` samples at the level `level_dbov`, as [`level_dbov`] measures it.
    pub fn update(&mut self, level_dbov: f32, samples: usize) -> Activity {
        if level_dbov > self.noise_dbov {
            // Quieter than the background was thought to be: believed at once, for a pause is the only time to see it.
            self.noise_dbov = level_dbov;
        } else {
            let rise = NOISE_RISE_DB_PER_SECOND * samples as f32 / SAMPLE_RATE as f32;
            let louder = (self.noise_dbov - rise).max(level_dbov);
            self.noise_dbov = louder.max(LOUDEST_NOISE_DBOV);
        }
        let threshold = (self.noise_dbov - VOICE_OVER_NOISE_DB).min(QUIETEST_VOICE_DBOV);
        if level_dbov < threshold {
            self.hangover = HANGOVER_SAMPLES;
            return Activity::Voice;
        }
        self.hangover = self.hangover.saturating_sub(samples);
        match self.hangover {
            0 => Activity::Quiet,
            _ => Activity::Hangover,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(amplitude: f32, samples: usize) -> Vec<f32> {
        (0..samples)
            .map(|n| amplitude * (n as f32 * 0.0573).sin())
            .collect()
    }

    #[test]
    fn levels_are_measured_against_a_full_scale_square_wave() {
        assert_eq!(level_dbov(&[1.0, -1.0, 1.0, -1.0]), 0.0);
        assert!((level_dbov(&sine(1.0, 48_000)) - 3.01).abs() < 0.02);
        assert!((level_dbov(&sine(0.1, 48_000)) - 23.01).abs() < 0.02);
        assert_eq!(level_dbov(&[0.0; 960]), SILENCE_DBOV);
        assert_eq!(level_dbov(&[]), SILENCE_DBOV);
        assert_eq!(level_dbov(&[f32::NAN; 4]), SILENCE_DBOV);
    }

    #[test]
    fn a_voice_is_heard_over_noise_and_ends_after_its_hangover() {
        let mut activity = VoiceActivity::new();
        let mut hear = |amplitude| activity.update(level_dbov(&sine(amplitude, 960)), 960);
        for _ in 0..500 {
            hear(0.004);
        }
        assert_eq!(hear(0.004), Activity::Quiet, "noise is no voice");
        assert_eq!(hear(0.1), Activity::Voice);
        let held = (0..50)
            .take_while(|_| hear(0.004) == Activity::Hangover)
            .count();
        assert_eq!(held, HANGOVER_SAMPLES / 960 - 1);
    }

    #[test]
    fn a_speaker_who_never_pauses_stays_a_voice() {
        let mut activity = VoiceActivity::new();
        let level = level_dbov(&sine(0.2, 960));
        assert!((0..3000).all(|_| activity.update(level, 960) == Activity::Voice));
    }
}
