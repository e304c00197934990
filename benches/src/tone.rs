//! When a tone is heard in a recording, and when not.
//!
//! Everyone says a tone of their own, a multiple of [`STEP`]: over a window of [`WINDOW`] samples those do not disturb each
//! other, so that one recording tells when each of many speakers was heard.

use std::f64::consts::TAU;
use std::ops::Range;
use std::path::Path;

use crate::RATE;

/// Samples of a window: 10 ms, the least that the client plays at once.
pub const WINDOW: usize = RATE as usize / 100;

/// Tones that are to be told from each other are multiples of this, in hertz.
pub const STEP: u32 = 100;

/// Seconds of a window.
const WINDOW_TIME: f64 = WINDOW as f64 / RATE as f64;

/// A tone is there while it is at least this part as loud as it usually is.
const PRESENT: f64 = 0.5;

/// A time in which a tone was not heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gap {
    /// When it began, in seconds from the recording's start.
    pub from: f64,
    /// How long it was, in seconds.
    pub length: f64,
}

/// How loud a tone is in each window of a recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Loudness(Vec<f64>);

impl Loudness {
    /// Of the tone of `hertz` in `samples`.
    pub fn of(hertz: u32, samples: &[f32]) -> Self {
        Self(
            samples
                .chunks_exact(WINDOW)
                .map(|window| amplitude(hertz, window))
                .collect(),
        )
    }

    /// The gaps in the seconds `within`, where the seconds `undisturbed` show how loud the tone usually is. `None` when it
    /// is not to be heard there either.
    pub fn gaps(&self, within: Range<f64>, undisturbed: Range<f64>) -> Option<Vec<Gap>> {
        let usual = self.usual(undisturbed);
        // Below that it is what the codec made of nothing.
        if usual < 0.001 {
            return None;
        }
        let mut gaps: Vec<Gap> = Vec::new();
        let mut open = false;
        let within = self.windows(within);
        for (at, loudness) in within.clone().zip(&self.0[within]) {
            if *loudness >= usual * PRESENT {
                open = false;
            } else if let (true, Some(gap)) = (open, gaps.last_mut()) {
                gap.length += WINDOW_TIME;
            } else {
                open = true;
                gaps.push(Gap {
                    from: at as f64 * WINDOW_TIME,
                    length: WINDOW_TIME,
                });
            }
        }
        Some(gaps)
    }

    /// The tone's median amplitude in these seconds; 0 when there are none.
    pub fn usual(&self, seconds: Range<f64>) -> f64 {
        let mut usual = self
            .0
            .get(self.windows(seconds))
            .unwrap_or_default()
            .to_vec();
        usual.sort_by(f64::total_cmp);
        usual.get(usual.len() / 2).copied().unwrap_or(0.0)
    }

    /// The windows of these seconds, as far as there are any.
    fn windows(&self, seconds: Range<f64>) -> Range<usize> {
        let at =
            |seconds: f64| ((seconds / WINDOW_TIME).round().max(0.0) as usize).min(self.0.len());
        let start = at(seconds.start);
        start..at(seconds.end).max(start)
    }
}

/// Reads a recording of the client as far as it is whole.
pub fn read(file: &Path) -> Result<Vec<f32>, hound::Error> {
    let mut reader = hound::WavReader::open(file)?;
    let samples = reader.samples::<i16>().map_while(Result::ok);
    Ok(samples.map(|sample| f32::from(sample) / 32_768.0).collect())
}

/// The amplitude of one frequency, by Goertzel's algorithm.
fn amplitude(hertz: u32, window: &[f32]) -> f64 {
    let turn = 2.0 * (TAU * f64::from(hertz) / f64::from(RATE)).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in window {
        (last, before) = (f64::from(*sample) + turn * last - before, last);
    }
    let power = last * last + before * before - turn * last * before;
    2.0 * power.max(0.0).sqrt() / window.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tones, each with the seconds in which it is not there.
    fn recording(seconds: f64, tones: &[(u32, Range<f64>)]) -> Vec<f32> {
        let samples = (seconds * f64::from(RATE)) as usize;
        (0..samples)
            .map(|n| {
                let time = n as f64 / f64::from(RATE);
                let heard = tones.iter().filter(|(_, gap)| !gap.contains(&time));
                heard
                    .map(|(hertz, _)| 0.25 * (TAU * f64::from(*hertz) * time).sin() as f32)
                    .sum()
            })
            .collect()
    }

    #[test]
    fn a_gap_is_found_where_it_is_and_as_long_as_it_is() {
        let samples = recording(4.0, &[(500, 2.0..2.3)]);
        let gaps = Loudness::of(500, &samples).gaps(1.0..4.0, 0.0..1.0);
        let gaps = gaps.expect("the tone is there");
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        assert!((gaps[0].from - 2.0).abs() < 0.02, "{gaps:?}");
        assert!((gaps[0].length - 0.3).abs() < 0.02, "{gaps:?}");
    }

    #[test]
    fn a_missing_tone_among_several_is_found() {
        let tones = [(300, 0.0..0.0), (500, 1.5..1.6), (700, 0.0..0.0)];
        let samples = recording(3.0, &tones);
        for (hertz, missing) in [(300, 0), (500, 1), (700, 0)] {
            let gaps = Loudness::of(hertz, &samples).gaps(1.0..3.0, 0.0..1.0);
            assert_eq!(gaps.expect("it is there").len(), missing, "{hertz} Hz");
        }
    }

    #[test]
    fn a_tone_that_does_not_come_back_is_missed_to_the_end() {
        let samples = recording(3.0, &[(500, 2.0..9.0)]);
        let gaps = Loudness::of(500, &samples).gaps(1.0..10.0, 0.0..1.0);
        let gaps = gaps.expect("the tone is there");
        assert!((gaps[0].length - 1.0).abs() < 0.02, "{gaps:?}");
    }

    #[test]
    fn a_tone_that_never_was_cannot_be_missed() {
        let samples = recording(2.0, &[(500, 0.0..0.0)]);
        assert_eq!(Loudness::of(900, &samples).gaps(1.0..2.0, 0.0..1.0), None);
        assert_eq!(Loudness::of(500, &[]).gaps(0.0..1.0, 0.0..1.0), None);
    }

    #[test]
    fn a_window_tells_the_amplitude() {
        let samples = recording(0.01, &[(300, 0.0..0.0), (500, 0.0..0.0)]);
        assert!((amplitude(500, &samples) - 0.25).abs() < 0.001);
        assert!(amplitude(400, &samples) < 0.001);
    }
}
