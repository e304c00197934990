//! The sending side: captured blocks in, sealed frames out.

use std::time::{Duration, Instant};

use confab_e2ee::{BaseKeys, FrameCipher, SealError};
use confab_protocol::media::{AudioLevel, FramePayload, MediaError, TIMESTAMP_RATE};
use confab_voice::{CodecError, Encoder, EncoderConfig, VoiceActivity, level_dbov};

/// A frame, ready for a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedFrame {
    /// How loud it is, for the relay.
    pub level: AudioLevel,
    pub sframe: Vec<u8>,
}

/// Why a frame was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TalkError {
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The payload does not have its form.
    #[error(transparent)]
    Payload(#[from] MediaError),
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Collects blocks into frames, encodes and seals them.
pub struct Talker {
    encoder: Encoder,
    activity: VoiceActivity,
    frame: Vec<f32>,
    plaintext: Vec<u8>,
    /// Media time of the frame that is collected.
    timestamp: u32,
    /// When the last block ended; a pause is measured from there.
    last_block: Option<Instant>,
    paused_at: Option<Instant>,
    talkspurt: bool,
}

impl Talker {
    /// A voice that begins at the media time `timestamp`, which should be random.
    pub fn new(config: EncoderConfig, timestamp: u32) -> Result<Self, CodecError> {
        Ok(Self {
            encoder: Encoder::new(config)?,
            activity: VoiceActivity::new(),
            frame: Vec::with_capacity(config.frame.samples()),
            plaintext: Vec::new(),
            timestamp,
            last_block: None,
            paused_at: None,
            talkspurt: true,
        })
    }

    /// Takes a block of 48 kHz mono samples that ended at `now`; gives a frame when one is full.
    ///
    /// After a [`pause`](Self::pause) the media time has moved on by as long as it lasted.
    pub fn capture<K: BaseKeys>(
        &mut self,
        now: Instant,
        block: &[f32],
        cipher: &mut FrameCipher<K>,
    ) -> Result<Option<SealedFrame>, TalkError> {
        if let Some(paused) = self.paused_at.take() {
            let length = Duration::from_micros(block.len() as u64 * 125 / 6);
            let silence = now.saturating_duration_since(paused).saturating_sub(length);
            let ticks = silence.as_micros() * u128::from(TIMESTAMP_RATE) / 1_000_000;
            // The cast wraps as the timestamp does.
            self.timestamp = self.timestamp.wrapping_add(ticks as u32);
        }
        self.last_block = Some(now);
        self.frame.extend_from_slice(block);
        let samples = self.encoder.frame_samples();
        if self.frame.len() < samples {
            return Ok(None);
        }
        let sealed = self.seal_frame(samples, cipher);
        self.frame.drain(..samples);
        self.timestamp = self.timestamp.wrapping_add(samples as u32);
        self.talkspurt = self.talkspurt && sealed.is_err();
        sealed.map(Some)
    }

    /// Nothing will come for a while: gives what is left as a last frame, filled up with silence.
    pub fn pause<K: BaseKeys>(
        &mut self,
        cipher: &mut FrameCipher<K>,
    ) -> Result<Option<SealedFrame>, TalkError> {
        let last = if self.frame.is_empty() {
            Ok(None)
        } else {
            let samples = self.encoder.frame_samples();
            self.frame.resize(samples, 0.0);
            let sealed = self.seal_frame(samples, cipher);
            self.frame.clear();
            self.timestamp = self.timestamp.wrapping_add(samples as u32);
            sealed.map(Some)
        };
        self.talkspurt = true;
        if self.paused_at.is_none() {
            self.paused_at = self.last_block;
        }
        last
    }

    /// Drops samples that are too old to be sent; the next block begins a talkspurt.
    pub fn interrupt(&mut self) {
        self.timestamp = self.timestamp.wrapping_add(self.frame.len() as u32);
        self.frame.clear();
        self.talkspurt = true;
        if self.paused_at.is_none() {
            self.paused_at = self.last_block;
        }
    }

    /// Prepares the encoder for this loss, in percent.
    pub fn expect_loss(&mut self, percent: u8) -> Result<(), CodecError> {
        self.encoder.set_expected_loss(percent)
    }

    fn seal_frame<K: BaseKeys>(
        &mut self,
        samples: usize,
        cipher: &mut FrameCipher<K>,
    ) -> Result<SealedFrame, TalkError> {
        let pcm = &self.frame[..samples];
        let voice = self.activity.update(pcm);
        let level = AudioLevel::new(voice, level_dbov(pcm));
        let opus = self.encoder.encode(pcm)?;
        let payload = FramePayload {
            timestamp: self.timestamp,
            talkspurt: self.talkspurt,
            dred_version: 0,
            redundant: Vec::new(),
            opus,
        };
        self.plaintext.clear();
        payload.encode(&mut self.plaintext)?;
        let mut sframe = Vec::new();
        cipher.seal(&self.plaintext, &mut sframe)?;
        Ok(SealedFrame { level, sframe })
    }
}
