//! Noise suppression by a recurrent network (RNNoise, by `nnnoiseless`).

use nnnoiseless::DenoiseState;

use crate::BLOCK;

/// The network takes samples of 16 bits.
const FULL_SCALE: f32 = 32_767.0;

pub(super) struct NoiseSuppressor {
    state: Box<DenoiseState<'static>>,
    scaled: [f32; BLOCK],
}

impl NoiseSuppressor {
    pub(super) fn new() -> Self {
        const { assert!(BLOCK == DenoiseState::FRAME_SIZE) };
        Self {
            state: DenoiseState::new(),
            scaled: [0.0; BLOCK],
        }
    }

    pub(super) fn process(&mut self, block: &mut [f32; BLOCK]) {
        for (scaled, sample) in self.scaled.iter_mut().zip(&*block) {
            *scaled = sample.clamp(-1.0, 1.0) * FULL_SCALE;
        }
        self.state.process_frame(block, &self.scaled);
        for sample in block {
            *sample /= FULL_SCALE;
        }
    }
}
