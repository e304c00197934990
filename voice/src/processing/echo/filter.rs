//! A Kalman filter for the echo path: partitions of one block each, in the frequency domain (Enzner and Vary, "Frequency-domain
//! adaptive Kalman filter for acoustic echo control in hands-free telephones", Signal Processing 86, 2006; partitioned by
//! Kuech, Mabande and Enzner, "State-space architecture of the partitioned-block-based acoustic echo controller", ICASSP 2014).
//!
//! It knows how sure it is of each bin of each partition, and takes what is heard beside the echo for noise: so it learns fast at
//! first, and hardly at all while somebody speaks here.

use realfft::num_complex::Complex32;

use super::transform::Transform;
use crate::BLOCK;

/// Samples of a transform: this block and the one before.
pub(super) const FRAME: usize = 2 * BLOCK;
/// Bins of a transform.
const BINS: usize = BLOCK + 1;
/// Blocks that the echo may take: from the sample that is played to the end of its reverberation.
const PARTITIONS: usize = 32;

/// Partitions whose taps are kept to one block in each step, in turn: all of them would cost most of the time.
const CONSTRAINED: usize = 4;
/// Weight of the past in the loudness of what is heard beside the echo.
const NOISE_MEMORY: f32 = 0.8;
/// Variance of the error of a tap of which nothing is known yet.
const UNKNOWN: f32 = 0.01;
/// Keeps divisions by silence finite.
const TINY: f32 = 1e-9;

/// The spectrum of each of the last [`PARTITIONS`] blocks that were played, the newest first.
pub(super) struct Played {
    spectra: Vec<Complex32>,
    powers: Vec<f32>,
    newest: usize,
    last: [f32; BLOCK],
}

impl Played {
    pub(super) fn new() -> Self {
        Self {
            spectra: vec![Complex32::ZERO; PARTITIONS * BINS],
            powers: vec![0.0; PARTITIONS * BINS],
            newest: 0,
            last: [0.0; BLOCK],
        }
    }

    pub(super) fn push(&mut self, transform: &mut Transform<FRAME>, block: &[f32; BLOCK]) {
        self.newest = (self.newest + PARTITIONS - 1) % PARTITIONS;
        let mut frame = [0.0; FRAME];
        frame[..BLOCK].copy_from_slice(&self.last);
        frame[BLOCK..].copy_from_slice(block);
        self.last = *block;
        let at = self.newest * BINS;
        transform.forward(&frame, &mut self.spectra[at..at + BINS]);
        for (power, bin) in self.powers[at..at + BINS]
            .iter_mut()
            .zip(&self.spectra[at..at + BINS])
        {
            *power = bin.norm_sqr();
        }
    }

    /// Spectrum and power of what was played so many blocks ago.
    fn ago(&self, blocks: usize) -> (&[Complex32], &[f32]) {
        let at = (self.newest + blocks) % PARTITIONS * BINS;
        (&self.spectra[at..at + BINS], &self.powers[at..at + BINS])
    }
}

/// One estimate of the echo path.
pub(super) struct Filter {
    /// How much of the path stays the same from one block to the next, as an amplitude gain.
    stays: f32,
    taps: Vec<Complex32>,
    /// Variance of the error of each tap.
    errors: Vec<f32>,
    /// Power of what is heard beside the echo, by bin.
    beside: Vec<f32>,
    /// Partition whose taps are constrained next.
    turn: usize,
}

impl Filter {
    pub(super) fn new(stays: f32) -> Self {
        Self {
            stays,
            taps: vec![Complex32::ZERO; PARTITIONS * BINS],
            errors: vec![UNKNOWN; PARTITIONS * BINS],
            beside: vec![0.0; BINS],
            turn: 0,
        }
    }

    /// Knows nothing of the path any more.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.stays);
    }

    /// Takes over what another filter has learnt.
    pub(super) fn copy(&mut self, other: &Self) {
        self.taps.copy_from_slice(&other.taps);
        self.errors.copy_from_slice(&other.errors);
    }

    /// The echo in the newest block.
    pub(super) fn echo(&self, transform: &mut Transform<FRAME>, played: &Played) -> [f32; BLOCK] {
        let mut bins = [Complex32::ZERO; BINS];
        for (partition, taps) in self.taps.chunks_exact(BINS).enumerate() {
            let (spectrum, _) = played.ago(partition);
            for ((bin, tap), played) in bins.iter_mut().zip(taps).zip(spectrum) {
                *bin += tap * played;
            }
        }
        let samples = transform.inverse(&bins);
        let newest = samples.last_chunk();
        *newest.expect("a frame is longer than a block")
    }

    /// Learns from what was left of the newest block after its echo was taken out.
    pub(super) fn learn(
        &mut self,
        transform: &mut Transform<FRAME>,
        played: &Played,
        left: &[f32; BLOCK],
    ) {
        let mut frame = [0.0; FRAME];
        frame[BLOCK..].copy_from_slice(left);
        let mut left = [Complex32::ZERO; BINS];
        transform.forward(&frame, &mut left);

        let (stays, changes) = (self.stays.powi(2), 1.0 - self.stays.powi(2));
        let mut uncertain = [0.0f32; BINS];
        let partitions = self
            .taps
            .chunks_exact(BINS)
            .zip(self.errors.chunks_exact_mut(BINS));
        for (partition, (taps, errors)) in partitions.enumerate() {
            let (_, powers) = played.ago(partition);
            for (((error, tap), power), uncertain) in
                errors.iter_mut().zip(taps).zip(powers).zip(&mut uncertain)
            {
                *error = stays * *error + changes * tap.norm_sqr();
                *uncertain += *error * power;
            }
        }
        let mut step = [Complex32::ZERO; BINS];
        let mut certainty = [0.0f32; BINS];
        for bin in 0..BINS {
            let beside = &mut self.beside[bin];
            *beside = NOISE_MEMORY * *beside + (1.0 - NOISE_MEMORY) * left[bin].norm_sqr();
            certainty[bin] = 1.0 / (uncertain[bin] + 2.0 * *beside + TINY);
            step[bin] = left[bin] * certainty[bin];
        }
        let partitions = self
            .taps
            .chunks_exact_mut(BINS)
            .zip(self.errors.chunks_exact_mut(BINS));
        for (partition, (taps, errors)) in partitions.enumerate() {
            let (spectrum, powers) = played.ago(partition);
            for bin in 0..BINS {
                taps[bin] += spectrum[bin].conj() * step[bin] * errors[bin];
                errors[bin] *= 1.0 - 0.5 * errors[bin] * powers[bin] * certainty[bin];
            }
        }
        self.constrain(transform);
    }

    /// Keeps the taps of some partitions to one block.
    fn constrain(&mut self, transform: &mut Transform<FRAME>) {
        for _ in 0..CONSTRAINED {
            let taps = &mut self.taps[self.turn * BINS..][..BINS];
            let mut samples = *transform.inverse(taps);
            samples[BLOCK..].fill(0.0);
            transform.forward(&samples, taps);
            self.turn = (self.turn + 1) % PARTITIONS;
        }
    }
}
