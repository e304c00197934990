//! Other programs with the same bits, recordings and losses: libopus alone, without a client around it.
//!
//! Mumble plays what libopus conceals; Discord and Signal have each packet carry a coarse copy of the frame before it (in-band FEC).

use std::time::Duration;

use confab_voice::codec::MAX_PACKET_SAMPLES;
use confab_voice::{CodecError, Encoder, EncoderConfig};
use opusic_c::{Channels, Decoder, SampleRate};

use super::network::{Delay, Loss, Way};

/// A program's answer to a lost frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Other {
    /// It is concealed as libopus has always done.
    Concealment,
    /// It is taken from the next packet, if that arrives.
    InbandFec,
}

impl Other {
    pub(super) const ALL: [Self; 2] = [Self::Concealment, Self::InbandFec];

    /// As figures name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Concealment => "libopus_alone",
            Self::InbandFec => "libopus_fec",
        }
    }
}

/// Sends `said` (48 kHz) at `bitrate` bits a second, and gives the listener's sound: each frame in its place, without delay.
pub(super) fn speak(
    said: &[f32],
    other: Other,
    bitrate: u32,
    loss: Loss,
    seed: u64,
) -> Result<Vec<f32>, CodecError> {
    let mut encoder = Encoder::new(EncoderConfig {
        bitrate,
        variable_rate: true,
        inband_fec: other == Other::InbandFec,
        // As a program would set it that knows.
        expected_loss: (loss.part() * 100.0) as u8,
        ..EncoderConfig::default()
    })?;
    // Of complexity 0: without the models that libopus has had since 1.5.
    let mut decoder = Decoder::new(Channels::Mono, SampleRate::Hz48000)?;
    let samples = encoder.frame_samples();
    let mut way = Way::new(loss, Delay::Steady, seed);
    let mut packets = Vec::new();
    for (n, frame) in (0..).zip(said.chunks_exact(samples)) {
        let packet = encoder.encode(frame)?.to_vec();
        let arrives = way.arrival(Duration::from_millis(20) * n).is_some();
        packets.push(arrives.then_some(packet));
    }
    let mut heard = Vec::new();
    let mut pcm = vec![0.0; MAX_PACKET_SAMPLES];
    for (n, packet) in packets.iter().enumerate() {
        let next = packets.get(n + 1).and_then(Option::as_deref);
        let next = next.filter(|_| other == Other::InbandFec);
        let (bytes, is_fec) = match packet {
            Some(packet) => (packet.as_slice(), false),
            None => (next.unwrap_or_default(), next.is_some()),
        };
        decoder.decode_float_to_slice(bytes, &mut pcm[..samples], is_fec)?;
        heard.extend_from_slice(&pcm[..samples]);
    }
    // What the codec looks ahead is late.
    Ok(heard.split_off(encoder.lookahead()))
}
