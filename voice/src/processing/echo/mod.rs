//! Echo cancellation: WebRTC's third canceller.

use sonora::AudioProcessing;
use sonora::config::EchoCanceller as Config;

use super::webrtc::{bounded, capture, processing};
use crate::BLOCK;

pub(super) struct EchoCanceller(AudioProcessing);

impl EchoCanceller {
    pub(super) fn new() -> Self {
        Self(processing(sonora::Config {
            echo_canceller: Some(Config {
                // There is a high-pass before it.
                enforce_high_pass_filtering: false,
                ..Config::default()
            }),
            ..sonora::Config::default()
        }))
    }

    pub(super) fn played(&mut self, block: &[f32; BLOCK]) {
        let mut unused = [0.0; BLOCK];
        // What it does not know it takes for silence.
        let _ = self
            .0
            .process_render_f32(&[&bounded(block)], &mut [&mut unused]);
    }

    pub(super) fn process(&mut self, block: &mut [f32; BLOCK]) {
        capture(&mut self.0, block);
    }
}
