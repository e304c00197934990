//! A high-pass filter: rumble, hum and a microphone's offset cost bits and hide what is quiet.

use std::f32::consts::{FRAC_1_SQRT_2, TAU};

use crate::{BLOCK, SAMPLE_RATE};

/// Below this a voice has nothing, in Hz.
const CORNER: f32 = 50.0;

/// A Butterworth filter of second order, in the transposed direct form II.
pub(super) struct HighPass {
    b: [f32; 3],
    a: [f32; 2],
    state: [f32; 2],
}

impl HighPass {
    pub(super) fn new() -> Self {
        // The bilinear transform; the gain at high frequencies is 1.
        let turn = TAU * CORNER / SAMPLE_RATE as f32;
        let (sin, cos) = turn.sin_cos();
        let alpha = sin * FRAC_1_SQRT_2;
        let norm = 1.0 + alpha;
        let outer = (1.0 + cos) / 2.0 / norm;
        Self {
            b: [outer, -2.0 * outer, outer],
            a: [-2.0 * cos / norm, (1.0 - alpha) / norm],
            state: [0.0; 2],
        }
    }

    pub(super) fn process(&mut self, block: &mut [f32; BLOCK]) {
        for sample in block {
            // Bounded, so that no input leaves the filter without a number in it.
            let x = sample.clamp(-8.0, 8.0);
            let y = self.b[0] * x + self.state[0];
            self.state[0] = self.b[1] * x - self.a[0] * y + self.state[1];
            self.state[1] = self.b[2] * x - self.a[1] * y;
            *sample = y;
        }
    }
}
