//! The sending side: captured blocks in, sealed frames out.
//!
//! Nothing but the members can open a frame, but the path sees when it is sent, how long it is and what level it tells. The
//! length follows how frames are protected against loss, which follows what is lost; for the rest see [`Spurts`].

use std::time::{Duration, Instant};

use confab_e2ee::{BaseKeys, FrameCipher, SealError};
use confab_protocol::media::payload::{AGE_UNIT, Block};
use confab_protocol::media::uplink::MAX_SFRAME;
use confab_protocol::media::{
    AudioLevel, FramePayload, LossReport, MediaError, SFRAME_TAG_LEN, SframeHeader, TIMESTAMP_RATE,
};
use confab_voice::{
    Adaptation, AdaptationConfig, CodecError, Encoder, EncoderConfig, Fate, Gate, PathLoss, Plan,
    Protection, SAMPLE_RATE, Spurts, Told,
};

use super::pre_roll::PreRoll;

/// Longest plaintext of a frame.
const MAX_PLAINTEXT: usize = MAX_SFRAME - SframeHeader::MAX_LEN - SFRAME_TAG_LEN;

/// What is heard is processed first, and a device may say that it is younger than it is: it is so much older, at most.
const PROCESSED_LATER: Duration = Duration::from_millis(25);

/// A frame, ready for a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedFrame {
    /// How loud it is, for the relay.
    pub level: AudioLevel,
    pub sframe: Vec<u8>,
    /// How long it is, if it has a voice in it.
    pub voiced: Duration,
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
    adaptation: Adaptation,
    /// How frames are sent now.
    plan: Plan,
    /// Frames sent by it.
    turn: usize,
    encoder: Encoder,
    protection: Protection,
    spurts: Spurts,
    pre_roll: PreRoll,
    /// When the person began to want to be heard.
    wanted_since: Option<Instant>,
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
    /// A voice that begins at the media time `timestamp`, which should be random. `spurts` says which of its frames are sent.
    pub fn new(
        config: AdaptationConfig,
        timestamp: u32,
        spurts: Spurts,
    ) -> Result<Self, CodecError> {
        let adaptation = Adaptation::new(config);
        let plan = adaptation.plan();
        let encoder = Encoder::new(EncoderConfig {
            bitrate: plan.bitrate,
            frame: plan.frame,
            bandwidth: plan.bandwidth,
            ..config.encoder
        })?;
        Ok(Self {
            adaptation,
            plan,
            turn: 0,
            encoder,
            protection: Protection::new(),
            spurts,
            pre_roll: PreRoll::default(),
            wanted_since: None,
            frame: Vec::with_capacity(config.encoder.frame.samples()),
            plaintext: Vec::new(),
            timestamp,
            last_block: None,
            paused_at: None,
            talkspurt: true,
        })
    }

    /// Takes a block of 48 kHz mono samples that ended at `now`; gives a frame when one is full and no pause.
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
        let sealed = self.take_frame(samples, cipher);
        self.frame.drain(..samples);
        sealed
    }

    /// Nothing will come for a while: gives what is left as a last frame, filled up with silence, if it is no pause.
    pub fn pause<K: BaseKeys>(
        &mut self,
        cipher: &mut FrameCipher<K>,
    ) -> Result<Option<SealedFrame>, TalkError> {
        let last = if self.frame.is_empty() {
            Ok(None)
        } else {
            let samples = self.encoder.frame_samples();
            self.frame.resize(samples, 0.0);
            let sealed = self.take_frame(samples, cipher);
            self.frame.clear();
            sealed
        };
        self.pre_roll.clear();
        self.spurts.gate().break_off();
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
        self.pre_roll.clear();
        self.spurts.gate().break_off();
        self.talkspurt = true;
        if self.paused_at.is_none() {
            self.paused_at = self.last_block;
        }
    }

    /// From now on the person wants to be heard, or not, where only that decides ([`TalkMode::Push`](confab_voice::TalkMode)).
    pub fn push(&mut self, now: Instant, is_pushed: bool) {
        self.change_gate(now, |gate| gate.push(is_pushed));
    }

    /// The person mutes its voice, or lifts that.
    pub fn mute(&mut self, now: Instant, is_muted: bool) {
        self.change_gate(now, |gate| gate.mute(is_muted));
    }

    fn change_gate(&mut self, now: Instant, change: impl FnOnce(&mut Gate)) {
        let gate = self.spurts.gate();
        let was_locked = gate.is_locked();
        change(gate);
        if was_locked && !gate.is_locked() {
            self.wanted_since = Some(now);
        }
    }

    /// True if something in the frame was said before the person wanted to be heard.
    fn is_unwanted(&self, samples: usize) -> bool {
        let (Some(since), Some(end)) = (self.wanted_since, self.last_block) else {
            return false;
        };
        let length = Duration::from_micros(samples as u64 * 125 / 6);
        end < since + length + PROCESSED_LATER
    }

    /// Takes what the relay tells of loss, and the round trip to it: frames are sent accordingly from the next one on.
    pub fn take_loss(
        &mut self,
        report: &LossReport,
        rtt: Option<Duration>,
    ) -> Result<(), CodecError> {
        let [uplink, receivers] = [report.uplink, report.receivers].map(|loss| PathLoss {
            part: loss.part(),
            burst: loss.mean_burst(),
        });
        self.adaptation.report(uplink, receivers, rtt);
        let plan = self.adaptation.plan();
        if plan != self.plan {
            tracing::debug!(?plan, "the network changed");
            self.encoder.set_bitrate(plan.bitrate)?;
            self.encoder.set_frame(plan.frame);
            self.encoder.set_bandwidth(plan.bandwidth)?;
            self.plan = plan;
            self.turn = 0;
        }
        Ok(())
    }

    /// How frames are sent now.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// Moves the media time on by the frame that is full; gives it unless it belongs to a pause.
    fn take_frame<K: BaseKeys>(
        &mut self,
        samples: usize,
        cipher: &mut FrameCipher<K>,
    ) -> Result<Option<SealedFrame>, TalkError> {
        let is_unwanted = self.is_unwanted(samples);
        self.spurts.gate().set_unwanted(is_unwanted);
        let told = self.spurts.hear(&self.frame[..samples]);
        let sealed = match told.fate {
            Fate::Sent => self.seal_frame(samples, told, cipher).map(Some),
            Fate::Silenced => {
                self.frame[..samples].fill(0.0);
                self.seal_frame(samples, told, cipher).map(Some)
            }
            Fate::Kept => {
                self.pre_roll.keep(&self.frame[..samples]);
                Ok(None)
            }
            Fate::Dropped => {
                self.pre_roll.clear();
                Ok(None)
            }
        };
        self.timestamp = self.timestamp.wrapping_add(samples as u32);
        self.talkspurt = match sealed {
            Ok(Some(_)) => false,
            Ok(None) => true,
            Err(_) => self.talkspurt,
        };
        sealed
    }

    /// Encodes the frames that were kept, as if they had been sent; gives their number.
    fn encode_pre_roll(&mut self, samples: usize) -> Result<usize, CodecError> {
        let kept = self.pre_roll.take(samples);
        for (frame, before) in kept.iter().zip((1..=kept.len()).rev()) {
            let timestamp = self.timestamp.wrapping_sub((before * samples) as u32);
            let opus = self.encoder.encode(frame)?;
            self.protection.sent(timestamp, samples as u32, opus);
        }
        Ok(kept.len())
    }

    fn seal_frame<K: BaseKeys>(
        &mut self,
        samples: usize,
        told: Told,
        cipher: &mut FrameCipher<K>,
    ) -> Result<SealedFrame, TalkError> {
        let rolled = self.encode_pre_roll(samples)?;
        let profile = self.plan.profile;
        let codes = self
            .pre_roll
            .codes(rolled, profile, profile.codes(self.turn));
        let mut size = FramePayload::size_without_blocks(self.encoder.packet_bytes());
        let opus = self.encoder.encode(&self.frame[..samples])?;
        let made = self
            .protection
            .blocks(self.timestamp, samples as u32, &codes);
        let mut blocks = Vec::with_capacity(made.len());
        for block in made {
            let block = on_the_wire(block);
            // With long frames at a high bit rate no more may fit.
            if size + block.encoded_len() <= MAX_PLAINTEXT {
                size += block.encoded_len();
                blocks.push(block);
            }
        }
        let payload = FramePayload {
            timestamp: self.timestamp,
            talkspurt: self.talkspurt,
            comfort: told.comfort,
            dred_version: 0,
            opus,
            blocks,
        };
        self.plaintext.clear();
        payload.encode_to_size(size, &mut self.plaintext)?;
        let mut sframe = Vec::new();
        cipher.seal(&self.plaintext, &mut sframe)?;
        self.protection.sent(self.timestamp, samples as u32, opus);
        self.turn = self.turn.wrapping_add(1);
        let level = AudioLevel::new(told.voice, told.level_dbov);
        let voiced = match told.voice {
            true => Duration::from_secs_f64(samples as f64 / f64::from(SAMPLE_RATE)),
            false => Duration::ZERO,
        };
        Ok(SealedFrame {
            level,
            sframe,
            voiced,
        })
    }
}

/// A block as it stands in a payload.
fn on_the_wire(block: confab_voice::Block<'_>) -> Block<'_> {
    match block {
        confab_voice::Block::Copy { age, packet } => Block::Copy {
            age: u8::try_from(age / AGE_UNIT).unwrap_or(u8::MAX),
            opus: packet,
        },
        confab_voice::Block::Xor { mask, symbol } => Block::Xor { mask, symbol },
        confab_voice::Block::RandomLinear { mask, symbol } => Block::RandomLinear { mask, symbol },
    }
}
