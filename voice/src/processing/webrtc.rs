//! WebRTC's audio processing, in its port to Rust by `sonora`: one channel at 48 kHz.

use sonora::config::{MaxProcessingRate, Pipeline};
use sonora::{AudioProcessing, StreamConfig};

use crate::{BLOCK, SAMPLE_RATE};

/// With nothing switched on but what `config` says.
pub(super) fn processing(config: sonora::Config) -> AudioProcessing {
    let mono = StreamConfig::new(SAMPLE_RATE, 1);
    let config = sonora::Config {
        pipeline: Pipeline {
            maximum_internal_processing_rate: MaxProcessingRate::Rate48kHz,
            ..Pipeline::default()
        },
        ..config
    };
    AudioProcessing::builder()
        .config(config)
        .capture_config(mono)
        .render_config(mono)
        .build()
}

/// Changes a block of the microphone.
pub(super) fn capture(processing: &mut AudioProcessing, block: &mut [f32; BLOCK]) {
    let heard = bounded(block);
    // It refuses forms that it does not know, and this one it knows.
    if processing
        .process_capture_f32(&[&heard], &mut [block])
        .is_err()
    {
        *block = heard;
    }
}

/// Within ±1, which the processing expects.
pub(super) fn bounded(block: &[f32; BLOCK]) -> [f32; BLOCK] {
    block.map(|sample| match sample.is_finite() {
        true => sample.clamp(-1.0, 1.0),
        false => 0.0,
    })
}
