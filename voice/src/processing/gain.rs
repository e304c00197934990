//! Gain control: WebRTC's second one, digital, with its limiter.

use sonora::AudioProcessing;
use sonora::config::{AdaptiveDigital, GainController2};

use super::webrtc::{capture, processing};
use crate::BLOCK;

pub(super) struct GainControl(AudioProcessing);

impl GainControl {
    pub(super) fn new() -> Self {
        Self(processing(sonora::Config {
            gain_controller2: Some(GainController2 {
                adaptive_digital: Some(AdaptiveDigital {
                    // As it comes until the voice was heard.
                    initial_gain_db: 0.0,
                    max_gain_db: 30.0,
                    ..AdaptiveDigital::default()
                }),
                ..GainController2::default()
            }),
            ..sonora::Config::default()
        }))
    }

    pub(super) fn process(&mut self, block: &mut [f32; BLOCK]) {
        capture(&mut self.0, block);
    }
}
