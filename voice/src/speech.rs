//! Whether somebody speaks, by a model of speech (`earshot`): noise, clicks and music are not speech.

use std::f32::consts::PI;
use std::fmt;

use earshot::Detector;

/// Samples of 48 kHz for one of the model's.
const DECIMATION: usize = 3;
/// Samples of 16 kHz that the model takes at once (16 ms).
const MODEL_FRAME: usize = 256;
/// Taps of the filter before decimation: 2 ms on either side.
const TAPS: usize = 193;
/// The model's score from which on a frame is taken for speech.
const SPEECH_SCORE: f32 = 0.5;
/// Speech begins when so many of the last [`LOOKED_AT`] frames are: a click is one.
const ENOUGH: u32 = 3;
/// Frames that are looked at for it.
const LOOKED_AT: u32 = 4;

/// Decides whether somebody speaks, 16 ms by 16 ms.
pub struct SpeechDetector {
    model: Box<Detector>,
    decimator: Decimator,
    /// Samples of 16 kHz that wait for a whole frame.
    waiting: Vec<f32>,
    /// One bit for each frame, the newest lowest.
    recent: u32,
}

impl SpeechDetector {
    /// A detector that has heard nothing.
    pub fn new() -> Self {
        Self {
            model: Detector::default_boxed(),
            decimator: Decimator::new(),
            waiting: Vec::with_capacity(2 * MODEL_FRAME),
            recent: 0,
        }
    }

    /// Hears the next samples, as many as there are; true if somebody speaks now.
    pub fn hear(&mut self, pcm: &[f32]) -> bool {
        let mut was_speech = false;
        self.decimator.push(pcm, &mut self.waiting);
        while let Some(frame) = self.waiting.first_chunk::<MODEL_FRAME>() {
            let is_speech = self.model.predict_f32(frame) >= SPEECH_SCORE;
            self.waiting.drain(..MODEL_FRAME);
            self.recent = self.recent << 1 | u32::from(is_speech);
            was_speech |= self.is_speech();
        }
        was_speech || self.is_speech()
    }

    fn is_speech(&self) -> bool {
        (self.recent & ((1 << LOOKED_AT) - 1)).count_ones() >= ENOUGH
    }
}

impl Default for SpeechDetector {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SpeechDetector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpeechDetector")
            .field("is_speech", &self.is_speech())
            .finish_non_exhaustive()
    }
}

/// 48 kHz to 16 kHz, by a windowed sinc.
struct Decimator {
    taps: [f32; TAPS],
    /// The samples that the next output needs, and those behind them.
    history: Vec<f32>,
}

impl Decimator {
    fn new() -> Self {
        let middle = (TAPS / 2) as f32;
        let mut taps: [f32; TAPS] = std::array::from_fn(|n| {
            let t = n as f32 - middle;
            // A little under the half of the lower rate, so that the slope of the filter is below it.
            let x = PI * t * 0.92 / DECIMATION as f32;
            let sinc = if t == 0.0 { 1.0 } else { x.sin() / x };
            let turn = PI * t / middle;
            sinc * (0.42 + 0.5 * turn.cos() + 0.08 * (2.0 * turn).cos())
        });
        let sum: f32 = taps.iter().sum();
        taps.iter_mut().for_each(|tap| *tap /= sum);
        Self {
            taps,
            history: vec![0.0; TAPS - 1],
        }
    }

    /// Takes samples of 48 kHz, within ±1; those that are not numbers are silent.
    fn push(&mut self, pcm: &[f32], out: &mut Vec<f32>) {
        let sane = |sample: &f32| match sample.is_finite() {
            true => sample.clamp(-1.0, 1.0),
            false => 0.0,
        };
        self.history.extend(pcm.iter().map(sane));
        let mut at = 0;
        while let Some(window) = self.history.get(at..at + TAPS) {
            out.push(window.iter().zip(&self.taps).map(|(a, b)| a * b).sum());
            at += DECIMATION;
        }
        self.history.drain(..at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hertz: f32, samples: usize) -> Vec<f32> {
        (0..samples)
            .map(|n| 0.5 * (n as f32 * 2.0 * PI * hertz / 48_000.0).sin())
            .collect()
    }

    fn decimated(pcm: &[f32], piece: usize) -> Vec<f32> {
        let (mut decimator, mut out) = (Decimator::new(), Vec::new());
        pcm.chunks(piece)
            .for_each(|pcm| decimator.push(pcm, &mut out));
        out
    }

    fn rms(pcm: &[f32]) -> f32 {
        (pcm.iter().map(|x| x * x).sum::<f32>() / pcm.len() as f32).sqrt()
    }

    #[test]
    fn what_the_lower_rate_has_no_room_for_is_taken_out() {
        let low = decimated(&sine(1000.0, 48_000), 480);
        assert_eq!(low.len(), 16_000);
        assert!((rms(&low[1000..]) - 0.5 / 2f32.sqrt()).abs() < 0.005);
        assert!(rms(&decimated(&sine(11_000.0, 48_000), 480)[1000..]) < 0.001);
    }

    #[test]
    fn pieces_of_any_length_give_the_same() {
        let pcm = sine(700.0, 9600);
        assert_eq!(decimated(&pcm, 480), decimated(&pcm, 7));
        assert_eq!(decimated(&pcm, 480), decimated(&pcm, 9600));
    }

    #[test]
    fn silence_noise_and_tones_are_no_speech_nor_are_samples_that_are_no_numbers() {
        let mut state = 1u32;
        let mut noise = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        let sounds: [Vec<f32>; 4] = [
            vec![0.0; 192_000],
            (0..192_000).map(&mut noise).map(|x| x * 0.1).collect(),
            sine(440.0, 192_000),
            vec![f32::NAN; 192_000],
        ];
        for sound in sounds {
            let mut detector = SpeechDetector::new();
            let heard: Vec<bool> = sound.chunks(960).map(|pcm| detector.hear(pcm)).collect();
            // A sound that begins may be anything.
            let later = heard[100..].iter().filter(|is_speech| **is_speech).count();
            assert_eq!(later, 0, "frames were taken for speech");
        }
    }
}
