//! The path's view of a sender: length, level byte and time since the one before, for each datagram.

use std::time::{Duration, Instant};

use confab::engine::talker::{TalkError, Talker};
use confab_e2ee::{BaseKey, FixedKeys, FrameCipher};
use confab_protocol::media::{AudioLevel, KeyId, SframeHeader};
use confab_voice::{
    Activity, AdaptationConfig, CodecError, Encoder, EncoderConfig, Spurts, TalkMode,
    VoiceActivity, level_dbov,
};

use super::phones::FRAME;

/// How frames are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sender {
    /// As a client does by default.
    Default,
    /// As a client with `--hide-pauses`.
    HiddenPauses,
    /// With Opus' variable bit rate and each frame's own level, and without gaps: for comparison.
    Variable,
}

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Talk(#[from] TalkError),
}

/// A datagram, as the path sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Which frame is in it; the path does not see that.
    pub frame: usize,
    /// Bytes after the SFrame header, whose length follows the number of frames sent so far.
    length: usize,
    level: AudioLevel,
    /// Frames since the datagram before.
    gap: usize,
}

/// A part of what the path sees, as a number.
pub type Part = fn(&Seen) -> u64;

impl Seen {
    /// Each part that the path sees, by itself.
    pub const PARTS: [(&str, Part); 3] = [
        ("length", |seen| seen.length as u64),
        ("level", |seen| seen.level.to_byte().into()),
        ("timing", |seen| seen.gap as u64),
    ];

    /// All of it, as one number.
    pub fn all(&self) -> u64 {
        (self.gap as u64) << 32 | (self.length as u64) << 8 | u64::from(self.level.to_byte())
    }
}

/// Sends samples in frames of 20 ms; gives what the path sees.
pub fn seen(samples: &[f32], sender: Sender) -> Result<Vec<Seen>, PathError> {
    match sender {
        Sender::Default => by_talker(samples, false),
        Sender::HiddenPauses => by_talker(samples, true),
        Sender::Variable => variable(samples),
    }
}

fn by_talker(samples: &[f32], hide_pauses: bool) -> Result<Vec<Seen>, PathError> {
    let spurts = Spurts::new(TalkMode::Open, hide_pauses);
    let mut talker = Talker::new(AdaptationConfig::default(), 0, spurts)?;
    let keys = FixedKeys::new(KeyId::new(1, 0, 0), BaseKey::new([1; BaseKey::LEN]));
    let mut cipher = FrameCipher::new(keys);
    let mut now = Instant::now();
    let mut seen: Vec<Seen> = Vec::new();
    for (frame, pcm) in samples.chunks_exact(FRAME).enumerate() {
        now += Duration::from_millis(20);
        if let Some(sealed) = talker.capture(now, pcm, &mut cipher)? {
            seen.push(Seen {
                frame,
                length: after_header(&sealed.sframe),
                level: sealed.level,
                gap: frame - seen.last().map_or(0, |last| last.frame),
            });
        }
    }
    Ok(seen)
}

fn after_header(sframe: &[u8]) -> usize {
    SframeHeader::parse(sframe).map_or(sframe.len(), |(_, header)| sframe.len() - header)
}

fn variable(samples: &[f32]) -> Result<Vec<Seen>, PathError> {
    let mut encoder = Encoder::new(EncoderConfig {
        variable_rate: true,
        ..EncoderConfig::default()
    })?;
    let mut activity = VoiceActivity::new();
    let frames = samples.chunks_exact(FRAME).enumerate();
    let seen = frames.map(|(frame, pcm)| {
        let dbov = level_dbov(pcm);
        let voice = activity.update(dbov, pcm.len()) != Activity::Quiet;
        Ok(Seen {
            frame,
            length: encoder.encode(pcm)?.len(),
            level: AudioLevel::new(voice, dbov),
            gap: 1,
        })
    });
    seen.collect()
}
