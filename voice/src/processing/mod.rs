//! The processing of a microphone's sound before it is encoded, block by block of 10 ms.
//!
//! In this order, each step if it is asked for: high-pass, echo cancellation, noise suppression, gain control with a limiter.
//! Files and tones need none of it.

mod echo;
mod gain;
mod high_pass;
mod noise;
mod webrtc;

use std::fmt;

use crate::BLOCK;
use echo::EchoCanceller;
use gain::GainControl;
use high_pass::HighPass;
use noise::NoiseSuppressor;

/// The steps that are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProcessingConfig {
    /// Rumble and hum below 50 Hz is taken out.
    pub high_pass: bool,
    /// Sound of the speakers that comes back by the microphone is taken out.
    pub cancel_echo: bool,
    /// Noise is taken out. It delays by 10 ms.
    pub suppress_noise: bool,
    /// Quiet voices are made louder and loud ones quieter, over seconds; peaks are limited.
    pub control_gain: bool,
}

/// The steps, with what they remember.
pub struct Processing {
    high_pass: Option<HighPass>,
    echo: Option<EchoCanceller>,
    noise: Option<NoiseSuppressor>,
    gain: Option<GainControl>,
}

impl Processing {
    /// Has heard nothing yet.
    pub fn new(config: ProcessingConfig) -> Self {
        Self {
            high_pass: config.high_pass.then(HighPass::new),
            echo: config.cancel_echo.then(EchoCanceller::new),
            noise: config.suppress_noise.then(NoiseSuppressor::new),
            gain: config.control_gain.then(GainControl::new),
        }
    }

    /// Hears what the speakers play, mono.
    pub fn played(&mut self, pcm: &[f32]) {
        if let Some(echo) = &mut self.echo {
            echo.played(pcm);
        }
    }

    /// The microphone pauses, or what it heard meanwhile is lost.
    pub fn interrupt(&mut self) {
        if let Some(echo) = &mut self.echo {
            echo.interrupt();
        }
    }

    /// Changes what the microphone heard: whole blocks, mono. Samples that are not numbers become silence.
    pub fn process(&mut self, pcm: &mut [f32]) {
        for block in pcm.as_chunks_mut::<BLOCK>().0 {
            for sample in block.iter_mut().filter(|sample| !sample.is_finite()) {
                *sample = 0.0;
            }
            if let Some(high_pass) = &mut self.high_pass {
                high_pass.process(block);
            }
            if let Some(echo) = &mut self.echo {
                echo.process(block);
            }
            if let Some(noise) = &mut self.noise {
                noise.process(block);
            }
            if let Some(gain) = &mut self.gain {
                gain.process(block);
            }
        }
    }
}

impl fmt::Debug for Processing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processing")
            .field("high_pass", &self.high_pass.is_some())
            .field("echo", &self.echo.is_some())
            .field("noise", &self.noise.is_some())
            .field("gain", &self.gain.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::TAU;

    const SECOND: usize = 100 * BLOCK;

    fn sine(hertz: f32, amplitude: f32, samples: usize) -> Vec<f32> {
        (0..samples)
            .map(|n| amplitude * (n as f32 * TAU * hertz / 48_000.0).sin())
            .collect()
    }

    fn noise(amplitude: f32, samples: usize) -> Vec<f32> {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        (0..samples).map(|_| amplitude * next()).collect()
    }

    fn rms(pcm: &[f32]) -> f32 {
        (pcm.iter().map(|x| x * x).sum::<f32>() / pcm.len() as f32).sqrt()
    }

    const ALL: ProcessingConfig = ProcessingConfig {
        high_pass: true,
        cancel_echo: true,
        suppress_noise: true,
        control_gain: true,
    };

    #[test]
    fn rumble_goes_and_voice_stays() {
        let config = ProcessingConfig {
            high_pass: true,
            ..ProcessingConfig::default()
        };
        for (hertz, least, most) in [
            (0.0, 0.0, 0.01),
            (20.0, 0.0, 0.2),
            (200.0, 0.95, 1.05),
            (4000.0, 0.99, 1.01),
        ] {
            let mut pcm = match hertz {
                0.0 => vec![0.3; SECOND],
                hertz => sine(hertz, 0.3, SECOND),
            };
            let before = rms(&pcm);
            Processing::new(config).process(&mut pcm);
            let after = rms(&pcm[SECOND / 2..]) / before;
            assert!((least..=most).contains(&after), "{hertz} Hz: {after}");
        }
    }

    #[test]
    fn a_fan_is_taken_out() {
        // It learns what is noise for some seconds.
        let mut pcm = noise(0.05, 10 * SECOND);
        let before = rms(&pcm);
        let config = ProcessingConfig {
            suppress_noise: true,
            ..ProcessingConfig::default()
        };
        Processing::new(config).process(&mut pcm);
        let after = rms(&pcm[8 * SECOND..]) / before;
        assert!(after < 0.03, "{after}");
    }

    #[test]
    fn what_the_speakers_play_is_taken_out_of_what_the_microphone_hears() {
        let config = ProcessingConfig {
            cancel_echo: true,
            ..ProcessingConfig::default()
        };
        let mut processing = Processing::new(config);
        // It comes back 60 ms later, at half its loudness.
        let far = noise(0.1, 20 * SECOND);
        let lag = 6 * BLOCK;
        let (mut heard, mut left) = (Vec::new(), Vec::new());
        for at in (0..far.len()).step_by(BLOCK) {
            processing.played(&far[at..at + BLOCK]);
            let mut block: Vec<f32> = (at..at + BLOCK)
                .map(|n| n.checked_sub(lag).map_or(0.0, |n| far[n] * 0.5))
                .collect();
            heard.extend_from_slice(&block);
            processing.process(&mut block);
            left.extend(block);
        }
        let from = 15 * SECOND;
        let loss_db = 20.0 * (rms(&heard[from..]) / rms(&left[from..]).max(1e-9)).log10();
        assert!(loss_db > 40.0, "{loss_db} dB");
    }

    #[test]
    fn who_speaks_at_the_same_time_is_heard_as_before() {
        let config = ProcessingConfig {
            cancel_echo: true,
            ..ProcessingConfig::default()
        };
        let mut processing = Processing::new(config);
        let far = noise(0.1, 20 * SECOND);
        let near = sine(700.0, 0.1, 20 * SECOND);
        let (lag, from) = (6 * BLOCK + 100, 10 * SECOND);
        let mut left = Vec::new();
        for at in (0..far.len()).step_by(BLOCK) {
            processing.played(&far[at..at + BLOCK]);
            let sample = |n: usize| {
                let echo = n.checked_sub(lag).map_or(0.0, |n| far[n] * 0.5);
                echo + if n >= from { near[n] } else { 0.0 }
            };
            let mut block: Vec<f32> = (at..at + BLOCK).map(sample).collect();
            processing.process(&mut block);
            left.extend(block);
        }
        // The output is some samples late: the best delay counts.
        let from = 15 * SECOND;
        let error = |late: usize| {
            let pairs = left[from..].iter().zip(&near[from - late..]);
            let errors: Vec<f32> = pairs.map(|(left, near)| left - near).collect();
            rms(&errors)
        };
        let least = (0..BLOCK).map(error).fold(f32::MAX, f32::min);
        let clear_db = 20.0 * (rms(&near[from..]) / least).log10();
        assert!(clear_db > 20.0, "{clear_db} dB");
    }

    #[test]
    fn a_quiet_voice_becomes_louder_and_nothing_clips() {
        let config = ProcessingConfig {
            control_gain: true,
            ..ProcessingConfig::default()
        };
        let mut processing = Processing::new(config);
        let mut pcm = sine(300.0, 4.0, SECOND);
        processing.process(&mut pcm);
        assert!(pcm.iter().all(|sample| sample.abs() <= 1.0));
    }

    #[test]
    fn no_samples_make_it_panic_or_stay_silent() {
        let mut processing = Processing::new(ALL);
        for odd in [f32::NAN, f32::INFINITY, f32::MAX, f32::MIN, 1e30, -0.0] {
            let mut pcm = vec![odd; 10 * BLOCK];
            processing.played(&pcm);
            processing.process(&mut pcm);
            assert!(pcm.iter().all(|sample| sample.is_finite()));
        }
        // It hears again afterwards.
        let config = ProcessingConfig {
            cancel_echo: false,
            suppress_noise: false,
            ..ALL
        };
        let mut processing = Processing::new(config);
        processing.process(&mut vec![f32::MAX; BLOCK]);
        let mut pcm = sine(300.0, 0.2, 5 * SECOND);
        processing.process(&mut pcm);
        assert!(rms(&pcm[4 * SECOND..]) > 0.05);
    }
}
