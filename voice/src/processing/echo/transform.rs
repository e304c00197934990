//! Fourier transforms of real signals of one length.

use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

/// Transforms of `LEN` samples, which is even, to `LEN / 2 + 1` bins and back.
pub(super) struct Transform<const LEN: usize> {
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    scratch: Vec<Complex32>,
    /// The inverse overwrites what it reads.
    spectrum: Vec<Complex32>,
    samples: [f32; LEN],
}

impl<const LEN: usize> Transform<LEN> {
    pub(super) const BINS: usize = LEN / 2 + 1;

    pub(super) fn new() -> Self {
        let mut planner = RealFftPlanner::new();
        let forward = planner.plan_fft_forward(LEN);
        let inverse = planner.plan_fft_inverse(LEN);
        let scratch = forward.get_scratch_len().max(inverse.get_scratch_len());
        Self {
            forward,
            inverse,
            scratch: vec![Complex32::ZERO; scratch],
            spectrum: vec![Complex32::ZERO; Self::BINS],
            samples: [0.0; LEN],
        }
    }

    /// The bins of these samples.
    pub(super) fn forward(&mut self, samples: &[f32; LEN], bins: &mut [Complex32]) {
        self.samples = *samples;
        self.forward
            .process_with_scratch(&mut self.samples, bins, &mut self.scratch)
            .expect("the lengths are those of the plan");
    }

    /// The samples of these bins.
    pub(super) fn inverse(&mut self, bins: &[Complex32]) -> &[f32; LEN] {
        self.spectrum.copy_from_slice(bins);
        // A real signal has no imaginary part at both ends.
        for end in [0, Self::BINS - 1] {
            self.spectrum[end].im = 0.0;
        }
        self.inverse
            .process_with_scratch(&mut self.spectrum, &mut self.samples, &mut self.scratch)
            .expect("the lengths are those of the plan");
        for sample in &mut self.samples {
            *sample /= LEN as f32;
        }
        &self.samples
    }
}
