//! How much of what was said is in what was heard, and how late: normalised cross-correlation, piece by piece.
//!
//! A jitter buffer may stretch or cut time, so pieces of half a second are found each for itself.

use realfft::RealFftPlanner;

use crate::RATE;

/// Length of a piece, in samples: half a second.
const PIECE: usize = RATE as usize / 2;

/// A piece is looked for up to so much later than it was said, in samples: 1 s.
const MAX_LAG: usize = RATE as usize;

/// Pieces below this RMS hold no speech worth comparing: −50 dB of full scale.
const QUIET_RMS: f64 = 0.003;

/// The match of one recording in another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alignment {
    /// Correlation of what was said with what was heard, 1.0 when they are the same but for their loudness. The mean
    /// over the pieces, each weighed by its energy.
    pub correlation: f64,
    /// Median of the time from a piece's place in `said` to where it is in `heard`, in seconds.
    pub delay: f64,
    /// Pieces that were compared.
    pub pieces: usize,
}

/// A piece of what was said, as it was heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Piece {
    /// Its place in what was said, in seconds.
    pub at: f64,
    /// How much later it was heard, in seconds.
    pub delay: f64,
    /// How much of it was heard, as in [`Alignment`].
    pub correlation: f64,
    /// Root of its mean square.
    rms: f64,
}

/// Finds each piece of `said` in `heard`. Sample `n` of `said` was said `n / RATE` s after the moment at which `heard`
/// begins, plus `offset` samples. `None` when nothing in `said` is loud enough.
pub fn align(said: &[f32], heard: &[f32], offset: i64) -> Option<Alignment> {
    let pieces = pieces(said, heard, offset);
    let mut delays: Vec<f64> = pieces.iter().map(|piece| piece.delay).collect();
    let energy: f64 = pieces.iter().map(|piece| piece.rms * piece.rms).sum();
    let weighed: f64 = pieces
        .iter()
        .map(|piece| piece.correlation * piece.rms * piece.rms)
        .sum();
    if delays.is_empty() {
        return None;
    }
    delays.sort_by(f64::total_cmp);
    Some(Alignment {
        correlation: weighed / energy,
        delay: delays[delays.len() / 2],
        pieces: delays.len(),
    })
}

/// The same piece by piece; those that are too quiet are left out.
pub fn pieces(said: &[f32], heard: &[f32], offset: i64) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (index, piece) in said.chunks_exact(PIECE).enumerate() {
        let rms = rms(piece);
        if rms < QUIET_RMS {
            continue;
        }
        let from = index as i64 * PIECE as i64 + offset;
        let window = window(heard, from, PIECE + MAX_LAG);
        let (lag, correlation) = best_lag(piece, &window);
        pieces.push(Piece {
            at: index as f64 * PIECE as f64 / f64::from(RATE),
            delay: lag as f64 / f64::from(RATE),
            correlation,
            rms,
        });
    }
    pieces
}

/// Where in `window` the piece lies best, and how well: the lag in samples and the correlation there.
fn best_lag(piece: &[f32], window: &[f32]) -> (usize, f64) {
    let products = cross_correlation(piece, window);
    let piece_energy: f64 = piece.iter().map(|x| f64::from(*x).powi(2)).sum();
    let mut energies = vec![0.0; window.len() + 1];
    for (at, x) in window.iter().enumerate() {
        energies[at + 1] = energies[at] + f64::from(*x).powi(2);
    }
    let mut best = (0, 0.0);
    for (lag, product) in products.iter().enumerate() {
        let energy = energies[lag + piece.len()] - energies[lag];
        // Silence correlates with nothing; the floor keeps rounding noise from dividing to something.
        let correlation = product / (piece_energy * energy.max(1e-3)).sqrt();
        if correlation > best.1 {
            best = (lag, correlation);
        }
    }
    best
}

/// The sum of products of `piece` with `window` at each lag at which it lies wholly inside, by FFT.
fn cross_correlation(piece: &[f32], window: &[f32]) -> Vec<f64> {
    let size = (piece.len() + window.len()).next_power_of_two();
    let mut planner = RealFftPlanner::<f64>::new();
    let forward = planner.plan_fft_forward(size);
    let inverse = planner.plan_fft_inverse(size);
    let spectrum_of = |samples: &[f32]| {
        let mut padded = vec![0.0; size];
        for (to, from) in padded.iter_mut().zip(samples) {
            *to = f64::from(*from);
        }
        let mut spectrum = forward.make_output_vec();
        forward
            .process(&mut padded, &mut spectrum)
            .expect("the vectors were made for this transform");
        spectrum
    };
    let piece_spectrum = spectrum_of(piece);
    let mut spectrum = spectrum_of(window);
    for (product, piece) in spectrum.iter_mut().zip(&piece_spectrum) {
        *product *= piece.conj();
    }
    // The transform wants these to be exactly real; rounding left a trace.
    spectrum[0].im = 0.0;
    if let Some(last) = spectrum.last_mut() {
        last.im = 0.0;
    }
    let mut out = vec![0.0; size];
    inverse
        .process(&mut spectrum, &mut out)
        .expect("the vectors were made for this transform");
    out.truncate(window.len() - piece.len() + 1);
    out.iter_mut().for_each(|x| *x /= size as f64);
    out
}

/// `len` samples of `heard` from `from` on, with silence where there are none.
fn window(heard: &[f32], from: i64, len: usize) -> Vec<f32> {
    (from..from + len as i64)
        .map(|at| {
            let at = usize::try_from(at).ok();
            at.and_then(|at| heard.get(at)).copied().unwrap_or(0.0)
        })
        .collect()
}

fn rms(samples: &[f32]) -> f64 {
    let sum: f64 = samples.iter().map(|x| f64::from(*x).powi(2)).sum();
    (sum / samples.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise that is the same each time.
    fn noise(len: usize, mut seed: u32) -> Vec<f32> {
        (0..len)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 8) as f32 / (1 << 24) as f32 - 0.5
            })
            .collect()
    }

    #[test]
    fn an_input_is_found_at_its_place_in_a_recording() {
        let said = noise(3 * PIECE, 1);
        let mut heard = vec![0.0; 12_345];
        heard.extend(said.iter().map(|x| x * 0.3));
        let found = align(&said, &heard, 5_000).unwrap();
        assert_eq!(found.pieces, 3);
        assert!(found.correlation > 0.999, "{found:?}");
        assert!((found.delay - 7_345.0 / 48_000.0).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn a_missing_or_foreign_recording_does_not_correlate() {
        let said = noise(4 * PIECE, 1);
        let other = noise(6 * PIECE, 2);
        assert!(align(&said, &other, 0).unwrap().correlation < 0.1);
        assert_eq!(align(&said, &[], 0).unwrap().correlation, 0.0);
        let half = [&said[..2 * PIECE], &vec![0.0; 3 * PIECE]].concat();
        let found = align(&said, &half, 0).unwrap();
        assert!((found.correlation - 0.5).abs() < 0.05, "{found:?}");
    }

    #[test]
    fn silence_is_not_compared() {
        assert_eq!(align(&vec![0.0; 3 * PIECE], &noise(PIECE, 1), 0), None);
    }
}
