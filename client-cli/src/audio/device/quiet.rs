//! Detects silence in which a short gap is not noticed.

use std::time::{Duration, Instant};

/// Sound below this peak is quiet: −46 dB of full scale.
const LOUD: f32 = 0.005;

/// Silence has to last this long: longer than a breath between two words.
const FOR: Duration = Duration::from_millis(700);

/// Remembers when something was last loud.
#[derive(Debug, Clone, Copy)]
pub struct Quiet {
    loud: Instant,
}

impl Quiet {
    pub fn new(now: Instant) -> Self {
        Self { loud: now }
    }

    /// Sound that came at `at`.
    pub fn add(&mut self, at: Instant, samples: &[f32]) {
        if samples.iter().any(|sample| sample.abs() >= LOUD) {
            self.loud = at;
        }
    }

    /// True when it has been quiet for a while.
    pub fn is_quiet(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.loud) >= FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_between_words_is_not_quiet_and_a_second_without_sound_is() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut quiet = Quiet::new(start);
        assert!(!quiet.is_quiet(start + ms(100)));
        quiet.add(start + ms(100), &[0.0, -0.2, 0.001]);
        quiet.add(start + ms(300), &[0.001; 480]);
        assert!(!quiet.is_quiet(start + ms(600)));
        assert!(quiet.is_quiet(start + ms(1100)));
    }
}
