//! Opus: the encoder of one's own voice, the decoder of one speaker's.

mod packet;

use opusic_c::{
    Application, Bandwidth as OpusBandwidth, Bitrate, Channels, Decoder as OpusDecoder,
    Encoder as OpusEncoder, ErrorCode, InbandFec, SampleRate, Signal,
};

use crate::SAMPLE_RATE;

pub use packet::{MAX_PACKET_SAMPLES, PacketError, is_silence, packet_duration};

/// Largest packet that an encoder makes, in bytes: one frame (RFC 6716 §3.2.1) with its TOC byte.
pub const MAX_ENCODED_BYTES: usize = 1276;

/// Concealed audio comes in multiples of this, in samples (2.5 ms).
pub const CONCEAL_UNIT: usize = 120;

/// Effort of the decoder, 0 to 10: from 5 on it conceals by a neural vocoder (deep PLC), from 7 on it enhances low rates by
/// NoLACE. What is above that extends the bandwidth of narrow packets, which lowers the measured quality.
const DECODER_COMPLEXITY: u8 = 7;

/// Why something could not be encoded or decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodecError {
    /// A frame to encode has the wrong length.
    #[error("a frame of {got} samples; this encoder takes {expected}")]
    FrameLength {
        /// Samples given.
        got: usize,
        /// Samples of the encoder's frame duration.
        expected: usize,
    },
    /// The packet is not a valid Opus packet.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// The output is shorter than the packet.
    #[error("room for {got} samples; the packet has {needed}")]
    OutputTooShort {
        /// Samples of room given.
        got: usize,
        /// Samples in the packet.
        needed: usize,
    },
    /// A length to conceal that is 0 or no multiple of [`CONCEAL_UNIT`].
    #[error("{0} samples cannot be concealed: a multiple of 120 is needed")]
    ConcealLength(usize),
    /// A setting that libopus refuses.
    #[error("setting {0} is out of its range")]
    Setting(&'static str),
    /// libopus failed, or refused a packet whose framing is valid.
    #[error("libopus: {0}")]
    Opus(&'static str),
}

/// How long one frame is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum FrameDuration {
    /// 10 ms: least delay, most overhead.
    Ms10,
    /// 20 ms.
    #[default]
    Ms20,
    /// 40 ms.
    Ms40,
    /// 60 ms: least overhead, most delay.
    Ms60,
}

impl FrameDuration {
    /// Samples of one frame.
    pub const fn samples(self) -> usize {
        match self {
            Self::Ms10 => 480,
            Self::Ms20 => 960,
            Self::Ms40 => 1920,
            Self::Ms60 => 2880,
        }
    }
}

/// Up to which pitch sounds are encoded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Bandwidth {
    /// 8 kHz: all of what makes speech clear. Below some 30 kbit/s speech is clearer so.
    Wide,
    /// 20 kHz: all that people hear.
    #[default]
    Full,
}

/// How to encode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EncoderConfig {
    /// Bits a second, 6000 to 510 000; default 24 000.
    pub bitrate: u32,
    /// Length of each frame; default 20 ms.
    pub frame: FrameDuration,
    /// At most this; libopus takes less at low bit rates. Default: full.
    pub bandwidth: Bandwidth,
    /// CPU to spend, 0 to 10; default 10.
    pub complexity: u8,
    /// Packet loss to prepare for, in percent; default 0.
    pub expected_loss: u8,
    /// Constrained variable bit rate: a little better at the same mean rate, and the packets' lengths tell what is said, also
    /// through encryption (Wright et al. 2008, White et al. 2011); default false.
    pub variable_rate: bool,
    /// Encodes pauses as packets that need not be sent ([`is_silence`]); default false.
    pub dtx: bool,
    /// Whether frames carry a coarse copy of the one before; default false. For foreign receivers: the streams of this
    /// crate take redundant packets instead.
    pub inband_fec: bool,
}

impl Default for EncoderConfig {
    fn default() -> Self {
        Self {
            bitrate: 24_000,
            frame: FrameDuration::default(),
            bandwidth: Bandwidth::default(),
            complexity: 10,
            expected_loss: 0,
            variable_rate: false,
            dtx: false,
            inband_fec: false,
        }
    }
}

/// Encodes one voice; at a hard constant bit rate unless [`EncoderConfig::variable_rate`] is set.
pub struct Encoder {
    opus: OpusEncoder,
    frame: FrameDuration,
    bitrate: u32,
    lookahead: usize,
    packet: Box<[u8; MAX_ENCODED_BYTES]>,
}

impl Encoder {
    /// An encoder, or [`CodecError::Setting`] naming what is out of its range.
    pub fn new(config: EncoderConfig) -> Result<Self, CodecError> {
        // Not `Voip`: its high-pass and formant filters bend the waveform. On recorded speech at 24 kbit/s, what
        // comes out correlates with what went in by 0.86 to 0.96 there, and by 0.95 to 0.99 here.
        let mut opus = OpusEncoder::new(Channels::Mono, SampleRate::Hz48000, Application::Audio)?;
        opus.set_signal(Signal::Voice)?;
        opus.set_vbr(config.variable_rate)?;
        opus.set_vbr_constraint(true)?;
        opus.set_complexity(config.complexity)
            .map_err(|_| CodecError::Setting("complexity"))?;
        opus.set_dtx(config.dtx)?;
        opus.set_inband_fec(if config.inband_fec {
            InbandFec::Mode1
        } else {
            InbandFec::Off
        })?;
        let lookahead = opus.get_look_ahead()? as usize;
        let mut encoder = Self {
            opus,
            frame: config.frame,
            bitrate: config.bitrate,
            lookahead,
            packet: Box::new([0; MAX_ENCODED_BYTES]),
        };
        encoder.set_bitrate(config.bitrate)?;
        encoder.set_bandwidth(config.bandwidth)?;
        encoder.set_expected_loss(config.expected_loss)?;
        Ok(encoder)
    }

    /// Encodes exactly [`Encoder::frame_samples`] samples; the packet is valid until the next call.
    pub fn encode(&mut self, pcm: &[f32]) -> Result<&[u8], CodecError> {
        let expected = self.frame_samples();
        if pcm.len() != expected {
            return Err(CodecError::FrameLength {
                got: pcm.len(),
                expected,
            });
        }
        let length = self
            .opus
            .encode_float_to_slice(pcm, self.packet.as_mut_slice())?;
        Ok(&self.packet[..length])
    }

    /// Changes the bit rate from the next frame on, in bits a second.
    pub fn set_bitrate(&mut self, bitrate: u32) -> Result<(), CodecError> {
        // libopus clamps what is out of its range without a word.
        if !(6000..=510_000).contains(&bitrate) {
            return Err(CodecError::Setting("bitrate"));
        }
        self.opus.set_bitrate(Bitrate::Value(bitrate))?;
        self.bitrate = bitrate;
        Ok(())
    }

    /// Bytes of each packet at a constant bit rate and without DTX, whatever is in it: as libopus computes them.
    pub fn packet_bytes(&self) -> usize {
        let bits = u64::from(self.bitrate) * self.frame.samples() as u64 / u64::from(SAMPLE_RATE);
        ((bits as usize + 4) / 8).min(MAX_ENCODED_BYTES)
    }

    /// Changes the bandwidth from the next frame on.
    pub fn set_bandwidth(&mut self, bandwidth: Bandwidth) -> Result<(), CodecError> {
        let most = match bandwidth {
            Bandwidth::Wide => OpusBandwidth::Wide,
            Bandwidth::Full => OpusBandwidth::Full,
        };
        Ok(self.opus.set_max_bandwidth(most)?)
    }

    /// Changes the length of frames from the next frame on.
    pub fn set_frame(&mut self, frame: FrameDuration) {
        self.frame = frame;
    }

    /// Changes the loss to prepare for from the next frame on, in percent.
    pub fn set_expected_loss(&mut self, percent: u8) -> Result<(), CodecError> {
        self.opus
            .set_packet_loss(percent)
            .map_err(|_| CodecError::Setting("expected loss"))
    }

    /// Samples that [`Encoder::encode`] takes.
    pub fn frame_samples(&self) -> usize {
        self.frame.samples()
    }

    /// Algorithmic delay of encoder and decoder together, in samples: decoded audio is this much late.
    pub fn lookahead(&self) -> usize {
        self.lookahead
    }
}

/// Decodes one speaker.
pub struct Decoder {
    opus: OpusDecoder,
}

impl Decoder {
    /// A decoder that has heard nothing yet.
    pub fn new() -> Result<Self, CodecError> {
        let mut opus = OpusDecoder::new(Channels::Mono, SampleRate::Hz48000)?;
        opus.set_complexity(DECODER_COMPLEXITY)?;
        Ok(Self { opus })
    }

    /// Decodes a packet to the front of `out`; the number of samples is [`packet_duration`]'s. After an error, `out`
    /// may hold anything.
    pub fn decode(&mut self, packet: &[u8], out: &mut [f32]) -> Result<usize, CodecError> {
        let needed = packet_duration(packet)?;
        if out.len() < needed {
            return Err(CodecError::OutputTooShort {
                got: out.len(),
                needed,
            });
        }
        Ok(self
            .opus
            .decode_float_to_slice(packet, &mut out[..needed], false)?)
    }

    /// Fills `out` with what probably came next: libopus' concealment, which quietens as a loss goes on. `out` must be
    /// a multiple of [`CONCEAL_UNIT`].
    pub fn conceal(&mut self, out: &mut [f32]) -> Result<(), CodecError> {
        if out.is_empty() || !out.len().is_multiple_of(CONCEAL_UNIT) {
            return Err(CodecError::ConcealLength(out.len()));
        }
        for chunk in out.chunks_mut(MAX_PACKET_SAMPLES) {
            self.opus.decode_float_to_slice(&[], chunk, false)?;
        }
        Ok(())
    }

    /// Forgets all that was heard, for a stream that starts anew.
    pub fn reset(&mut self) -> Result<(), CodecError> {
        Ok(self.opus.reset()?)
    }
}

impl From<ErrorCode> for CodecError {
    fn from(code: ErrorCode) -> Self {
        Self::Opus(code.message())
    }
}
