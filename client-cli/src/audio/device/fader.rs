//! Fades around gaps.

/// Length of a fade, in milliseconds.
const FADE_MS: u32 = 3;

/// Keeps a gap from clicking: what was played last fades out, and what comes after it fades in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fader {
    /// Change of the gain with each sample.
    step: f32,
    /// Gain of what is played, 0 to 1.
    gain: f32,
    last: f32,
    /// The fading rest of the samples before the gap.
    tail: f32,
}

impl Fader {
    pub(super) fn new(rate: u32) -> Self {
        Self {
            step: 1.0 / (rate * FADE_MS / 1000).max(1) as f32,
            gain: 0.0,
            last: 0.0,
            tail: 0.0,
        }
    }

    /// The next samples do not continue the last ones.
    pub(super) fn jump(&mut self) {
        (self.tail, self.gain) = (self.last, 0.0);
    }

    /// Fades the next sample; `None` where there is none.
    pub(super) fn play(&mut self, sample: Option<f32>) -> f32 {
        match sample {
            Some(sample) => {
                self.gain = (self.gain + self.step).min(1.0);
                self.last = sample * self.gain + self.tail;
            }
            None => {
                if self.gain > 0.0 {
                    self.jump();
                }
                self.last = self.tail;
            }
        }
        // To a hundredth within the fade.
        self.tail -= self.tail * (self.step * 4.6).min(1.0);
        if self.tail.abs() < 1e-5 {
            self.tail = 0.0;
        }
        self.last
    }
}
