//! Many speakers into one output: the sum, held under full scale by a limiter.

/// Largest gain of one speaker: +6 dB.
pub const MAX_GAIN: f32 = 2.0;

/// Bound on the samples of a speaker: finite sums of any number of them stay finite.
const LOUDEST_SAMPLE: f32 = 8.0;

/// How long a change of gain by 1.0 takes, in samples (10 ms): a step would click.
const GAIN_RAMP_SAMPLES: f32 = 480.0;

/// The limiter leaves a sum alone up to here.
const THRESHOLD: f32 = 0.7;
/// How much of a peak the limiter follows each sample while it rises (1 ms) and forgets while it falls (200 ms).
const ATTACK: f32 = 1.0 / 48.0;
const RELEASE: f32 = 1.0 / 9600.0;

/// The volume of a speaker, 0 (silent) to [`MAX_GAIN`]; changes are gradual.
#[derive(Clone, Debug)]
pub struct Gain {
    current: f32,
    wanted: f32,
}

impl Default for Gain {
    fn default() -> Self {
        Self::new(1.0)
    }
}

impl Gain {
    /// A gain that starts at `gain`, clamped to its range; what is not a number is 0.
    pub fn new(gain: f32) -> Self {
        let gain = sane(gain).clamp(0.0, MAX_GAIN);
        Self {
            current: gain,
            wanted: gain,
        }
    }

    /// Glides to `gain`, clamped to its range.
    pub fn set(&mut self, gain: f32) {
        self.wanted = sane(gain).clamp(0.0, MAX_GAIN);
    }

    /// The gain that was set.
    pub fn get(&self) -> f32 {
        self.wanted
    }

    fn step(&mut self) -> f32 {
        let step = 1.0 / GAIN_RAMP_SAMPLES;
        self.current += (self.wanted - self.current).clamp(-step, step);
        self.current
    }
}

/// Sums speakers: [`Mixer::begin`], [`Mixer::add`] for each, [`Mixer::finish`]. It allocates only when a pull is longer
/// than all before.
#[derive(Clone, Debug, Default)]
pub struct Mixer {
    sum: Vec<f32>,
    envelope: f32,
}

impl Mixer {
    /// A mixer that has heard nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a mix of `samples` samples.
    pub fn begin(&mut self, samples: usize) {
        self.sum.clear();
        self.sum.resize(samples, 0.0);
    }

    /// Adds one speaker; what is longer than the mix is ignored, as are samples that are not finite.
    pub fn add(&mut self, pcm: &[f32], gain: &mut Gain) {
        for (sum, &sample) in self.sum.iter_mut().zip(pcm) {
            let sample = sane(sample).clamp(-LOUDEST_SAMPLE, LOUDEST_SAMPLE);
            *sum += sample * gain.step();
        }
    }

    /// Limits the sum and writes it to `out`; what is longer than the mix becomes silence. No sample exceeds ±1.0.
    pub fn finish(&mut self, out: &mut [f32]) {
        let length = self.sum.len().min(out.len());
        for (out, &sum) in out.iter_mut().zip(&self.sum) {
            let peak = sum.abs();
            let rate = if peak > self.envelope {
                ATTACK
            } else {
                RELEASE
            };
            self.envelope += rate * (peak - self.envelope);
            let gain = THRESHOLD / self.envelope.max(THRESHOLD);
            *out = saturate(sum * gain);
        }
        out[length..].fill(0.0);
    }
}

/// The identity up to [`THRESHOLD`], then bent so that it never passes 1.0. It catches what is faster than the
/// limiter's attack; value and slope are continuous, so that it does not click.
fn saturate(sample: f32) -> f32 {
    let over = sample.abs() - THRESHOLD;
    if over <= 0.0 {
        return sample;
    }
    let headroom = 1.0 - THRESHOLD;
    (THRESHOLD + headroom * (over / headroom).tanh())
        .min(1.0)
        .copysign(sample)
}

fn sane(value: f32) -> f32 {
    if value.is_finite() { value } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(mixer: &mut Mixer, speakers: &mut [(Vec<f32>, Gain)]) -> Vec<f32> {
        let mut out = vec![0.0; 480];
        mixer.begin(out.len());
        for (pcm, gain) in speakers {
            mixer.add(pcm, gain);
        }
        mixer.finish(&mut out);
        out
    }

    fn sine(amplitude: f32) -> Vec<f32> {
        // 1 kHz: ten whole periods, so that repeating the frame is continuous.
        (0..480)
            .map(|n| amplitude * (n as f32 * std::f32::consts::TAU / 48.0).sin())
            .collect()
    }

    #[test]
    fn one_quiet_speaker_passes_unchanged() {
        let voice = sine(0.5);
        let out = mix(&mut Mixer::new(), &mut [(voice.clone(), Gain::default())]);
        assert_eq!(out, voice);
    }

    #[test]
    fn thirty_loud_speakers_never_pass_full_scale_nor_click() {
        let mut mixer = Mixer::new();
        let mut speakers = vec![(sine(1.0), Gain::new(2.0)); 30];
        let mut before = 0.0_f32;
        for _ in 0..20 {
            for sample in mix(&mut mixer, &mut speakers) {
                assert!(sample.abs() <= 1.0);
                before = sample;
            }
        }
        // Settled: a loud sine, whose steepest step is that of a sine at full scale and not of a square wave.
        for sample in mix(&mut mixer, &mut speakers) {
            assert!((sample - before).abs() < 0.25, "{before} to {sample}");
            before = sample;
        }
        for (pcm, _) in &mut speakers {
            pcm.fill(0.0);
        }
        assert!(mix(&mut mixer, &mut speakers).iter().all(|&s| s == 0.0));
    }

    #[test]
    fn a_change_of_gain_glides() {
        let mut gain = Gain::new(0.0);
        gain.set(2.0);
        let mut mixer = Mixer::new();
        mixer.begin(960);
        mixer.add(&[0.3; 960], &mut gain);
        let mut out = [0.0; 960];
        mixer.finish(&mut out);
        assert!(out.windows(2).all(|pair| (pair[1] - pair[0]).abs() < 0.001));
        assert!((out[959] - 0.6).abs() < 1e-3);
        gain.set(f32::NAN);
        assert_eq!(gain.get(), 0.0);
        gain.set(9.0);
        assert_eq!(gain.get(), MAX_GAIN);
    }

    #[test]
    fn samples_that_are_no_numbers_are_silent() {
        let out = mix(
            &mut Mixer::new(),
            &mut [(
                vec![f32::NAN, f32::INFINITY, 0.1, 0.0, f32::MAX],
                Gain::default(),
            )],
        );
        assert_eq!(out[..4], [0.0, 0.0, 0.1, 0.0]);
        assert!(out.iter().all(|sample| sample.abs() <= 1.0));
    }
}
