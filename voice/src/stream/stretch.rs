//! Time stretching: one pitch period out, or one in, with a cross-fade (as WSOLA and NetEq's accelerate and
//! preemptive expand do).

/// Shortest and longest period looked for, in samples: 400 Hz down to 62.5 Hz.
const MIN_PERIOD: usize = 120;
const MAX_PERIOD: usize = 768;
/// Length of a cross-fade, in samples (5 ms).
const FADE: usize = 240;
/// Mean square below which there is little to hear: −50 dBov.
const QUIET: f32 = 1e-5;

/// Removes up to `at_most` samples near the front of `pcm`; returns how many. Nothing is removed where it would be
/// heard: where the best period correlates by less than `likeness` (−1 to 1).
pub(super) fn accelerate(pcm: &mut Vec<f32>, at_most: usize, likeness: f32) -> usize {
    let longest = at_most.min(pcm.len().saturating_sub(FADE));
    let Some(period) = find_period(pcm, longest, longest, likeness) else {
        return 0;
    };
    for n in 0..FADE {
        pcm[n] = fade(pcm[n], pcm[n + period], n);
    }
    pcm.drain(FADE..FADE + period);
    period
}

/// Inserts about `about` samples near the front of `pcm`; returns how many.
pub(super) fn expand(pcm: &mut Vec<f32>, about: usize, likeness: f32) -> usize {
    let longest = pcm.len().saturating_sub(FADE);
    let Some(period) = find_period(pcm, longest, about.min(longest), likeness) else {
        return 0;
    };
    let length = pcm.len();
    pcm.resize(length + period, 0.0);
    pcm.copy_within(0..length, period);
    // The front, moved back by a period, fades in where its continuation fades out; in front of that it is itself.
    // `pcm[period..]` holds the copy: the original from `period` on is read from it, one period further on.
    for n in 0..FADE {
        let continuation = pcm[n + 2 * period];
        let again = pcm[n + period];
        pcm[n + period] = fade(continuation, again, n);
    }
    period
}

/// The lag of at most `longest` at which `pcm` repeats itself best; `preferred` if it is quiet.
fn find_period(pcm: &[f32], longest: usize, preferred: usize, likeness: f32) -> Option<usize> {
    if longest < MIN_PERIOD {
        return None;
    }
    let mean_square = pcm.iter().map(|s| s * s).sum::<f32>() / pcm.len() as f32;
    if mean_square < QUIET {
        return Some(preferred.max(MIN_PERIOD));
    }
    let longest = longest.min(MAX_PERIOD);
    let best_of = |lags: &mut dyn Iterator<Item = usize>, step| {
        lags.map(|lag| (lag, correlation(pcm, lag, step)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
    };
    let (coarse, _) = best_of(&mut (MIN_PERIOD..=longest).step_by(3), 3)?;
    let near = coarse.saturating_sub(2).max(MIN_PERIOD)..=(coarse + 2).min(longest);
    let (period, correlation) = best_of(&mut near.into_iter(), 1)?;
    (correlation >= likeness).then_some(period)
}

/// Normalised correlation of the front with what comes `lag` later, over each `step`th sample of a cross-fade.
fn correlation(pcm: &[f32], lag: usize, step: usize) -> f32 {
    let (mut cross, mut front, mut later) = (0.0, 1e-9, 1e-9);
    for n in (0..FADE).step_by(step) {
        let (a, b) = (pcm[n], pcm[n + lag]);
        cross += a * b;
        front += a * a;
        later += b * b;
    }
    cross / f32::sqrt(front * later)
}

fn fade(from: f32, to: f32, n: usize) -> f32 {
    let part = (n as f32 + 0.5) / FADE as f32;
    from + (to - from) * part
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 200 Hz and two of its harmonics.
    fn vowel(samples: usize) -> Vec<f32> {
        let w = std::f32::consts::TAU * 200.0 / 48_000.0;
        (0..samples)
            .map(|n| n as f32 * w)
            .map(|p| 0.3 * p.sin() + 0.2 * (2.0 * p).sin() + 0.1 * (3.0 * p).cos())
            .collect()
    }

    fn steepest(pcm: &[f32]) -> f32 {
        pcm.windows(2)
            .map(|pair| (pair[1] - pair[0]).abs())
            .fold(0.0, f32::max)
    }

    #[test]
    fn whole_periods_are_removed_and_inserted_without_a_click() {
        let original = vowel(1440);
        let mut short = original.clone();
        let removed = accelerate(&mut short, 480, 0.9);
        assert!(removed == 240 || removed == 480, "{removed}");
        assert_eq!(short.len() + removed, original.len());
        assert!(steepest(&short) <= steepest(&original) * 1.05);

        let mut long = original.clone();
        let inserted = expand(&mut long, 480, 0.9);
        assert_eq!(inserted % 240, 0);
        assert!(inserted > 0);
        assert_eq!(long.len(), original.len() + inserted);
        assert!(steepest(&long) <= steepest(&original) * 1.05);
        assert_eq!(long[..inserted], original[..inserted]);
        assert_eq!(long[inserted + FADE..], original[FADE..]);
    }

    #[test]
    fn in_silence_any_length_can_be_removed() {
        let mut pcm = vec![0.0; 960];
        assert_eq!(accelerate(&mut pcm, 333, 0.9), 333);
        assert_eq!(pcm.len(), 627);
    }

    #[test]
    fn too_little_audio_is_left_alone() {
        for length in 0..360 {
            let mut pcm = vowel(length);
            assert_eq!(accelerate(&mut pcm, 960, -1.0), 0);
            assert_eq!(expand(&mut pcm, 960, -1.0), 0);
            assert_eq!(pcm.len(), length);
        }
    }
}
