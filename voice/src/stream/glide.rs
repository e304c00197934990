//! A voice a little faster or slower, by interpolation: what clocks differ by, and some milliseconds of delay, go this way, and
//! nothing is cut out or put in.

use std::f64::consts::PI;
use std::sync::LazyLock;

/// Samples on either side of a point that the interpolation looks at.
pub(super) const HALF: usize = 8;
const TAPS: usize = 2 * HALF;
/// Points between two samples whose filters are tabulated; what lies between is interpolated.
const PHASES: usize = 64;
/// Shape of the Kaiser window: about 60 dB of attenuation.
const KAISER_BETA: f64 = 5.65;

/// How much faster or slower it gets: one percent, a sixth of a semitone. Half of it would be no less audible, and last twice as long.
const SPEED: f64 = 0.01;

static FILTERS: LazyLock<Vec<[f32; TAPS]>> = LazyLock::new(filters);

/// The voice of a speaker on its way to the output.
#[derive(Debug)]
pub(super) struct Glide {
    /// The input behind the point, and before it; [`TAPS`] and what was not used yet.
    input: Vec<f32>,
    /// Where the next output sample lies after `input[HALF − 1]`, 0 to 1.
    fraction: f64,
    /// Samples that are to be played off; less than none: put in.
    left: f64,
}

impl Glide {
    pub(super) fn new() -> Self {
        Self {
            input: vec![0.0; TAPS - 1],
            fraction: 0.0,
            left: 0.0,
        }
    }

    /// From now on it is a little faster until `excess` samples are gone; slower where that is less than none.
    pub(super) fn begin(&mut self, excess: i64) {
        self.left += excess as f64;
    }

    /// True until what was begun is done.
    pub(super) fn is_gliding(&self) -> bool {
        self.left != 0.0
    }

    /// What comes next is not connected with what was.
    pub(super) fn reset(&mut self) {
        self.input.clear();
        self.input.resize(TAPS - 1, 0.0);
        self.fraction = 0.0;
        self.left = 0.0;
    }

    /// Takes samples and appends what they give to `out`: as many, [`HALF`] later, where it is neither faster nor slower.
    pub(super) fn push(&mut self, pcm: &[f32], out: &mut Vec<f32>) {
        self.input.extend_from_slice(pcm);
        let mut at = 0;
        while let Some(window) = self.input.get(at..at + TAPS) {
            out.push(match self.fraction == 0.0 {
                true => window[HALF - 1],
                false => interpolate(window, self.fraction),
            });
            at += self.step();
        }
        self.input.drain(..at.min(self.input.len()));
    }

    /// Goes on to the next output sample; the input samples that lie behind it then.
    fn step(&mut self) -> usize {
        let more = self.left.clamp(-SPEED, SPEED);
        self.left -= more;
        self.fraction += 1.0 + more;
        if self.left == 0.0 {
            // As many whole samples as were to be, but for what rounding makes of it.
            self.fraction = self.fraction.round();
        }
        let whole = self.fraction as usize;
        self.fraction -= whole as f64;
        whole
    }
}

fn interpolate(window: &[f32], fraction: f64) -> f32 {
    let phase = fraction * PHASES as f64;
    let index = (phase as usize).min(PHASES - 1);
    let between = (phase - index as f64) as f32;
    let dot = |filter: &[f32; TAPS]| -> f32 { filter.iter().zip(window).map(|(a, b)| a * b).sum() };
    let (lower, upper) = (dot(&FILTERS[index]), dot(&FILTERS[index + 1]));
    lower + between * (upper - lower)
}

/// A windowed sinc for each phase.
fn filters() -> Vec<[f32; TAPS]> {
    let filter = |phase: usize| {
        let offset = phase as f64 / PHASES as f64;
        let taps: [f64; TAPS] = std::array::from_fn(|tap| {
            let x = tap as f64 - (HALF as f64 - 1.0) - offset;
            let sinc = if x.abs() < 1e-9 {
                1.0
            } else {
                (PI * x).sin() / (PI * x)
            };
            sinc * kaiser(x / HALF as f64)
        });
        // Each phase passes a constant as it is.
        let sum: f64 = taps.iter().sum();
        taps.map(|tap| (tap / sum) as f32)
    };
    (0..=PHASES).map(filter).collect()
}

/// The Kaiser window at `x` of −1 to 1, by the power series of the modified Bessel function of order 0.
fn kaiser(x: f64) -> f64 {
    let bessel = |x: f64| {
        let terms = (1..=30).scan(1.0, |term, k| {
            *term *= x * x / 4.0 / f64::from(k * k);
            Some(*term)
        });
        1.0 + terms.sum::<f64>()
    };
    bessel(KAISER_BETA * (1.0 - x * x).max(0.0).sqrt()) / bessel(KAISER_BETA)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hertz: f64, samples: usize) -> Vec<f32> {
        let sample = |n| (0.5 * (n as f64 * hertz / 48_000.0 * 2.0 * PI).sin()) as f32;
        (0..samples).map(sample).collect()
    }

    #[test]
    fn without_an_excess_it_is_a_delay_of_a_few_samples() {
        let (mut glide, mut out) = (Glide::new(), Vec::new());
        let pcm = sine(440.0, 4800);
        pcm.chunks(960).for_each(|pcm| glide.push(pcm, &mut out));
        assert_eq!(out.len(), pcm.len());
        assert_eq!(out[HALF..], pcm[..pcm.len() - HALF]);
    }

    /// How much of a signal is not this tone.
    fn rest(pcm: &[f32], hertz: f64) -> f64 {
        let turn = hertz / 48_000.0 * 2.0 * PI;
        let (mut sin, mut cos) = (0.0, 0.0);
        for (n, sample) in pcm.iter().enumerate() {
            sin += f64::from(*sample) * (turn * n as f64).sin();
            cos += f64::from(*sample) * (turn * n as f64).cos();
        }
        let scale = 2.0 / pcm.len() as f64;
        let (sin, cos) = (sin * scale, cos * scale);
        let rest = pcm.iter().enumerate().map(|(n, sample)| {
            let tone = sin * (turn * n as f64).sin() + cos * (turn * n as f64).cos();
            (f64::from(*sample) - tone).powi(2)
        });
        (rest.sum::<f64>() / pcm.len() as f64).sqrt()
    }

    #[test]
    fn an_excess_shortens_and_a_lack_lengthens_and_tones_stay_tones() {
        for (excess, hertz) in [(240, 300.0), (-240, 3000.0), (480, 7000.0), (-480, 440.0)] {
            let (mut glide, mut out) = (Glide::new(), Vec::new());
            let pcm = sine(hertz, 144_000);
            glide.begin(excess);
            pcm.chunks(960).for_each(|pcm| glide.push(pcm, &mut out));
            assert_eq!(out.len() as i64, pcm.len() as i64 - excess);
            // The tone at another pitch, and nothing else; and then the samples as they are.
            let during = (excess.unsigned_abs() as f64 / SPEED) as usize - 400;
            let speed = 1.0 + SPEED * excess.signum() as f64;
            assert!(
                rest(&out[100..during], hertz * speed) < 0.003,
                "{excess} at {hertz} Hz"
            );
            let end = pcm.len() - HALF;
            assert_eq!(out[out.len() - 9600..], pcm[end - 9600..end]);
        }
    }

    #[test]
    fn after_a_reset_nothing_of_before_is_heard() {
        let (mut glide, mut out) = (Glide::new(), Vec::new());
        glide.begin(100);
        glide.push(&sine(440.0, 960), &mut out);
        glide.reset();
        out.clear();
        glide.push(&[0.0; 960], &mut out);
        assert!(out.iter().all(|sample| *sample == 0.0));
    }
}
