//! Suppresses the echo that the filter leaves: loudspeakers that distort, and a room that it does not know to the end.

use realfft::num_complex::Complex32;

use super::transform::Transform;
use crate::BLOCK;

/// Samples in which a block fades over into the next: so much later the output is.
pub(super) const OVERLAP: usize = 120;
const WINDOW: usize = BLOCK + OVERLAP;
/// Samples of a transform, at least [`WINDOW`].
const FRAME: usize = 720;
const BINS: usize = FRAME / 2 + 1;

/// Weight of the past in the powers that are compared.
const MEMORY: f32 = 0.5;
/// How fast the share of the echo that is left is believed to fall, and to grow, in a block.
const FALLS: f32 = 0.2;
const GROWS: f32 = 1.005;
/// An echo softer than this is not worth a look.
const SOFT: f32 = 1e-4;
/// Somebody speaks here if what is left is this many times louder than echo would be, as a power ratio.
const SPEAKS: f32 = 4.0;
/// Blocks for which somebody is taken to speak on.
const HOLD: u32 = 10;
/// How much more echo than believed is taken out while nobody, and while somebody speaks here.
const OVER: f32 = 16.0;
const OVER_SPEAKING: f32 = 1.3;
/// The lowest gain while nobody, and while somebody speaks here.
const LOWEST: f32 = 0.01;
const LOWEST_SPEAKING: f32 = 0.15;
/// Bins on each side over which gains are averaged.
const SMOOTHED: usize = 2;

pub(super) struct Suppressor {
    transform: Transform<FRAME>,
    window: [f32; WINDOW],
    /// The end of the last block.
    left: [f32; OVERLAP],
    echo: [f32; OVERLAP],
    tail: [f32; OVERLAP],
    left_power: [f32; BINS],
    echo_power: [f32; BINS],
    /// The share of the echo's power that is left, by bin.
    share: [f32; BINS],
    speaks_for: u32,
}

impl Suppressor {
    pub(super) fn new() -> Self {
        let mut window = [1.0; WINDOW];
        for at in 0..OVERLAP {
            let angle = (at as f32 + 0.5) / OVERLAP as f32 * std::f32::consts::FRAC_PI_2;
            window[at] = angle.sin();
            window[WINDOW - 1 - at] = angle.sin();
        }
        Self {
            transform: Transform::new(),
            window,
            left: [0.0; OVERLAP],
            echo: [0.0; OVERLAP],
            tail: [0.0; OVERLAP],
            left_power: [0.0; BINS],
            echo_power: [0.0; BINS],
            share: [1.0; BINS],
            speaks_for: 0,
        }
    }

    /// Takes out what is left of `echo` in `left`, which is changed to the output, [`OVERLAP`] samples late.
    pub(super) fn process(&mut self, left: &mut [f32; BLOCK], echo: &[f32; BLOCK]) {
        let mut left_bins = spectrum(&mut self.transform, &self.window, &mut self.left, left);
        let echo_bins = spectrum(&mut self.transform, &self.window, &mut self.echo, echo);
        let mut residual = [0.0f32; BINS];
        let (mut all_left, mut all_residual) = (0.0, 0.0);
        for bin in 0..BINS {
            follow(&mut self.left_power[bin], left_bins[bin]);
            follow(&mut self.echo_power[bin], echo_bins[bin]);
            let share = &mut self.share[bin];
            if self.echo_power[bin] > SOFT {
                let now = self.left_power[bin] / self.echo_power[bin];
                *share = match now < *share {
                    true => *share + FALLS * (now - *share),
                    false => (*share * GROWS).min(1.0),
                };
            }
            residual[bin] = *share * self.echo_power[bin];
            all_left += self.left_power[bin];
            all_residual += residual[bin];
        }
        self.speaks_for = match all_left > SPEAKS * all_residual {
            true => HOLD,
            false => self.speaks_for.saturating_sub(1),
        };
        let (over, lowest) = match self.speaks_for {
            0 => (OVER, LOWEST),
            _ => (OVER_SPEAKING, LOWEST_SPEAKING),
        };
        let mut gains = [1.0f32; BINS];
        for bin in 0..BINS {
            let power = left_bins[bin].norm_sqr();
            if residual[bin] > 0.0 && power > 0.0 {
                gains[bin] = (1.0 - over * residual[bin] / power).max(lowest);
            }
        }
        for (bin, value) in left_bins.iter_mut().enumerate() {
            let near = &gains[bin.saturating_sub(SMOOTHED)..(bin + SMOOTHED + 1).min(BINS)];
            *value *= near.iter().sum::<f32>() / near.len() as f32;
        }
        let samples = self.transform.inverse(&left_bins);
        for (at, sample) in left.iter_mut().enumerate() {
            *sample = samples[at] * self.window[at];
        }
        for (sample, tail) in left.iter_mut().zip(&self.tail) {
            *sample += tail;
        }
        for (at, tail) in self.tail.iter_mut().enumerate() {
            *tail = samples[BLOCK + at] * self.window[BLOCK + at];
        }
    }
}

/// The bins of a block and the end of the one before, which is then the end of this one.
fn spectrum(
    transform: &mut Transform<FRAME>,
    window: &[f32; WINDOW],
    before: &mut [f32; OVERLAP],
    block: &[f32; BLOCK],
) -> [Complex32; BINS] {
    let mut frame = [0.0; FRAME];
    frame[..OVERLAP].copy_from_slice(before);
    frame[OVERLAP..WINDOW].copy_from_slice(block);
    before.copy_from_slice(&block[BLOCK - OVERLAP..]);
    for (sample, gain) in frame.iter_mut().zip(window) {
        *sample *= gain;
    }
    let mut bins = [Complex32::ZERO; BINS];
    transform.forward(&frame, &mut bins);
    bins
}

fn follow(power: &mut f32, bin: Complex32) {
    *power = MEMORY * *power + (1.0 - MEMORY) * bin.norm_sqr();
}
