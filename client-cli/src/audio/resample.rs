//! Any rate to any other, by a windowed sinc: exact in time however long it runs.

use std::f64::consts::PI;

/// Zero crossings of the sinc on each side at the lower of both rates.
const CROSSINGS: usize = 24;

/// Shape of the Kaiser window: about 80 dB of attenuation (Kaiser 1974: β = 0.1102·(A − 8.7)).
const KAISER_BETA: f64 = 7.86;

/// Share of the lower rate's half that passes; what is above fades out over the rest.
const PASSBAND: f64 = 0.94;

/// Filter phases that are tabulated; a phase in between is interpolated.
const PHASES: usize = 512;

/// Positions are counted in so many parts of 1/`to` of an input sample: speeds are exact to 1 in 2^20.
const PARTS: u64 = 1 << 20;

/// A mono stream at one rate becomes one at another.
#[derive(Debug, Clone)]
pub struct Resampler {
    from: u64,
    /// Parts of an input sample.
    to: u64,
    /// Parts between two output samples.
    step: u64,
    /// Nothing is to be done, now or later.
    passes: bool,
    /// `PHASES + 1` filters of `2 · half` taps each.
    filters: Vec<f32>,
    half: usize,
    /// Input not yet used up; begins `half` samples before the one at `position`.
    input: Vec<f32>,
    /// Where the next output sample lies after `input[half − 1]`, in parts.
    position: u64,
}

impl Resampler {
    /// From `from` to `to` samples a second, both at least 1.
    pub fn new(from: u32, to: u32) -> Self {
        Self::build(from, to, from == to)
    }

    /// The same with a speed that can be changed, which costs the filter's delay even where both rates are equal.
    pub fn adjustable(from: u32, to: u32) -> Self {
        Self::build(from, to, false)
    }

    fn build(from: u32, to: u32, passes: bool) -> Self {
        let (from, to) = (u64::from(from.max(1)), u64::from(to.max(1)));
        let ratio = to as f64 / from as f64;
        let cutoff = ratio.min(1.0) * PASSBAND;
        let half = if passes {
            1
        } else {
            (CROSSINGS as f64 / ratio.min(1.0)).ceil() as usize
        };
        let mut filters = Vec::with_capacity((PHASES + 1) * 2 * half);
        for phase in 0..=PHASES {
            let offset = phase as f64 / PHASES as f64;
            let taps: Vec<f64> = (0..2 * half)
                .map(|tap| {
                    let x = tap as f64 - (half as f64 - 1.0) - offset;
                    cutoff * sinc(cutoff * x) * kaiser(x / half as f64)
                })
                .collect();
            // Each phase passes a constant as it is.
            let sum: f64 = taps.iter().sum();
            filters.extend(taps.iter().map(|tap| (tap / sum) as f32));
        }
        Self {
            from,
            to: to * PARTS,
            step: from * PARTS,
            passes,
            filters,
            half,
            input: vec![0.0; half - 1],
            position: 0,
        }
    }

    /// From now on the input is used up faster than its rate says by `excess`, −0.5 to 0.5; less comes out.
    ///
    /// Only for an [`adjustable`](Self::adjustable) one.
    pub fn set_speed(&mut self, excess: f64) {
        let speed = 1.0 + excess.clamp(-0.5, 0.5);
        self.step = ((self.from * PARTS) as f64 * speed).round() as u64;
    }

    /// Input samples that the filter keeps back.
    pub fn delay(&self) -> usize {
        if self.passes { 0 } else { self.half }
    }

    /// Takes samples and appends what they give to `out`. The filter keeps the last few back.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        if self.passes {
            out.extend_from_slice(samples);
            return;
        }
        self.input.extend_from_slice(samples);
        let taps = 2 * self.half;
        let mut at = (self.position / self.to) as usize;
        while at + taps <= self.input.len() {
            let phase = (self.position % self.to) as f64 / self.to as f64 * PHASES as f64;
            let index = phase as usize;
            let between = (phase - index as f64) as f32;
            let window = &self.input[at..at + taps];
            let lower = dot(&self.filters[index * taps..(index + 1) * taps], window);
            let upper = dot(
                &self.filters[(index + 1) * taps..(index + 2) * taps],
                window,
            );
            out.push(lower + between * (upper - lower));
            self.position += self.step;
            at = (self.position / self.to) as usize;
        }
        let used = at.min(self.input.len());
        self.input.drain(..used);
        self.position -= used as u64 * self.to;
    }

    /// The end of the stream: gives what the filter kept back.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        self.push(&vec![0.0; self.half], out);
    }
}

/// In lanes, so that several products are made at once: the filters have an even number of taps, most a multiple of 8.
fn dot(filter: &[f32], window: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut lanes = [0.0; LANES];
    let (filters, windows) = (filter.chunks_exact(LANES), window.chunks_exact(LANES));
    let rest = filters.remainder().iter().zip(windows.remainder());
    let rest: f32 = rest.map(|(a, b)| a * b).sum();
    for (filter, window) in filters.zip(windows) {
        for lane in 0..LANES {
            lanes[lane] += filter[lane] * window[lane];
        }
    }
    rest + lanes.iter().sum::<f32>()
}

fn sinc(x: f64) -> f64 {
    if x.abs() < 1e-9 {
        1.0
    } else {
        (PI * x).sin() / (PI * x)
    }
}

/// The Kaiser window at `x` of −1 to 1.
fn kaiser(x: f64) -> f64 {
    if x.abs() > 1.0 {
        return 0.0;
    }
    bessel_i0(KAISER_BETA * (1.0 - x * x).sqrt()) / bessel_i0(KAISER_BETA)
}

/// The modified Bessel function of the first kind and order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..=40 {
        term *= quarter / f64::from(k * k);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(rate: u32, hertz: f64, samples: usize) -> Vec<f32> {
        (0..samples)
            .map(|n| (n as f64 * hertz / f64::from(rate) * 2.0 * PI).sin() as f32 * 0.5)
            .collect()
    }

    /// Resamples in uneven pieces, as they come from a file.
    fn run(from: u32, to: u32, input: &[f32]) -> Vec<f32> {
        let mut resampler = Resampler::new(from, to);
        let mut out = Vec::new();
        for piece in input.chunks(317) {
            resampler.push(piece, &mut out);
        }
        resampler.finish(&mut out);
        out
    }

    #[test]
    fn a_tone_stays_the_same_tone_at_the_same_time() {
        for rate in [8_000, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000] {
            let out = run(rate, 48_000, &sine(rate, 1000.0, rate as usize));
            assert!(
                (out.len() as i64 - 48_000).abs() <= 1,
                "{rate}: {} samples",
                out.len()
            );
            let expected = sine(48_000, 1000.0, out.len());
            // The filter swings in and out at both ends.
            let middle = 1000..out.len() - 1000;
            let error = out[middle.clone()]
                .iter()
                .zip(&expected[middle])
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(error < 0.001, "{rate}: error {error}");
        }
    }

    #[test]
    fn frequencies_above_half_the_lower_rate_are_removed() {
        let out = run(48_000, 16_000, &sine(48_000, 11_000.0, 48_000));
        let loudest = out[500..out.len() - 500]
            .iter()
            .fold(0.0_f32, |m, s| m.max(s.abs()));
        assert!(loudest < 0.001, "{loudest}");
    }

    #[test]
    fn a_speed_that_changes_all_the_time_leaves_a_tone_smooth() {
        let mut resampler = Resampler::adjustable(48_000, 48_000);
        let mut out = Vec::new();
        let input = sine(48_000, 1000.0, 480_000);
        let mut expected = 0.0;
        for (n, piece) in input.chunks(480).enumerate() {
            let excess = 0.0015 * (n as f64 / 30.0).sin();
            expected += 480.0 / (1.0 + excess);
            resampler.set_speed(excess);
            resampler.push(piece, &mut out);
        }
        assert!((out.len() as f64 - expected).abs() < 26.0, "{}", out.len());
        // A sine is where its second difference is −ω² times itself; a jump would stand out.
        let omega = 2.0 * PI * 1000.0 / 48_000.0;
        let worst = out[100..].windows(3).fold(0.0_f64, |worst, w| {
            let bent = f64::from(w[0]) + f64::from(w[2]) - 2.0 * f64::from(w[1]);
            worst.max((bent + omega * omega * f64::from(w[1])).abs())
        });
        assert!(worst < 2e-4, "{worst}");
    }

    #[test]
    fn a_long_stream_keeps_its_length() {
        let mut resampler = Resampler::new(44_100, 48_000);
        let mut out = Vec::new();
        let mut total = 0;
        let second = vec![0.1; 44_100];
        for _ in 0..60 {
            resampler.push(&second, &mut out);
            total += out.len();
            out.clear();
        }
        resampler.finish(&mut out);
        assert!((total + out.len()).abs_diff(60 * 48_000) <= 1);
    }
}
