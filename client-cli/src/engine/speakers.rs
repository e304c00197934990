//! The others' voices: opened frames in, one mix and each speaker's own samples out.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use confab_protocol::control::{JoinId, Participant};
use confab_protocol::media::payload::{AGE_UNIT, Block, FramePayload};
use confab_protocol::media::{AudioLevel, MediaError};
use confab_voice::{CodecError, Listener, ReceivedFrame, SAMPLE_RATE};

use super::stats::SpeakerStats;

/// Time without a voice frame after which a participant counts as silent.
const SPEAKING_HOLD: Duration = Duration::from_millis(400);

/// Number of participants who left whose counts are kept, the latest.
const MAX_GONE: usize = 256;

/// Why a decrypted frame was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The plaintext is not a voice frame.
    #[error("not a voice frame: {0}")]
    Payload(#[from] MediaError),
    /// The decoder could not be created.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// A participant began or stopped speaking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaking {
    pub participant: Participant,
    pub speaking: bool,
}

/// The other participants. A voice belongs to a join: it goes on when the participant's leaf changes.
pub struct Speakers {
    listener: Listener,
    /// By the number of the stream, in the order of their coming.
    by_stream: BTreeMap<u32, Speaker>,
    streams: BTreeMap<JoinId, u32>,
    next_stream: u32,
    /// How loud people are played who are not as loud as they come, by name.
    volumes: BTreeMap<String, f32>,
    /// Counts of participants who left, the latest last; [`MAX_GONE`] at most.
    gone: VecDeque<SpeakerStats>,
}

struct Speaker {
    participant: Participant,
    speaking: bool,
    voice_until: Option<Instant>,
    /// The relay stopped forwarding this speaker: the next frame begins a talkspurt, and missing frames are not counted as lost.
    suppressed: bool,
    duplicates: u64,
    /// Sum of the squares of the played samples, and their number.
    energy: f64,
    samples: u64,
    /// Samples that were mixed and that no device played.
    unheard: u64,
}

impl Speakers {
    /// Nobody is there. For lost frames that redundancy brings back it waits `longest_wait` at most.
    pub fn new(longest_wait: Duration) -> Self {
        Self {
            listener: Listener::new(longest_wait),
            by_stream: BTreeMap::new(),
            streams: BTreeMap::new(),
            next_stream: 0,
            volumes: BTreeMap::new(),
            gone: VecDeque::new(),
        }
    }

    /// Adds a participant, or replaces its role, mute and name: its voice goes on.
    pub fn set(&mut self, participant: Participant) {
        let known = self.streams.get(&participant.join_id);
        if let Some(speaker) = known.and_then(|stream| self.by_stream.get_mut(stream)) {
            speaker.participant = participant;
            return;
        }
        let stream = self.next_stream;
        self.next_stream = self.next_stream.wrapping_add(1);
        self.streams.insert(participant.join_id, stream);
        let speaker = Speaker {
            participant,
            speaking: false,
            voice_until: None,
            suppressed: false,
            duplicates: 0,
            energy: 0.0,
            samples: 0,
            unheard: 0,
        };
        let volume = self.volumes.get(speaker.participant.username.as_str());
        if let Some(volume) = volume.copied() {
            self.set_gain(stream, volume);
        }
        self.by_stream.insert(stream, speaker);
    }

    /// Removes a participant, and keeps its counts.
    pub fn remove(&mut self, join: JoinId) {
        let Some(stream) = self.streams.remove(&join) else {
            return;
        };
        let stats = self.stats_of(stream);
        self.by_stream.remove(&stream);
        self.gone
            .extend(stats.filter(|stats| stats.frames_received > 0));
        let too_many = self.gone.len().saturating_sub(MAX_GONE);
        self.gone.drain(..too_many);
        self.listener.remove(stream);
    }

    /// Sets how loud everybody of this name is played, now and later, 0 (silent) to 2; the number of their devices here.
    pub fn set_volume(&mut self, username: &str, volume: f32) -> usize {
        match volume {
            1.0 => drop(self.volumes.remove(username)),
            _ => drop(self.volumes.insert(username.to_owned(), volume)),
        }
        let named = |speaker: &Speaker| speaker.participant.username.as_str() == username;
        let streams = self.by_stream.iter().filter(|(_, speaker)| named(speaker));
        let streams: Vec<u32> = streams.map(|(stream, _)| *stream).collect();
        for stream in &streams {
            self.set_gain(*stream, volume);
        }
        streams.len()
    }

    fn set_gain(&mut self, stream: u32, volume: f32) {
        if let Err(error) = self.listener.set_gain(stream, volume) {
            tracing::debug!(%error, "a participant's volume was not set");
        }
    }

    /// Takes a decrypted frame of `join`. `Some`: its participant began to speak.
    pub fn push(
        &mut self,
        now: Instant,
        join: JoinId,
        level: AudioLevel,
        plaintext: &[u8],
    ) -> Result<Option<Speaking>, FrameError> {
        let payload = FramePayload::parse(plaintext)?;
        let Some(stream) = self.streams.get(&join).copied() else {
            return Ok(None);
        };
        let Some(speaker) = self.by_stream.get_mut(&stream) else {
            return Ok(None);
        };
        let frame = ReceivedFrame {
            timestamp: payload.timestamp,
            talkspurt: payload.talkspurt || std::mem::take(&mut speaker.suppressed),
            packet: payload.opus,
        };
        let blocks = payload.blocks.iter().map(|block| match *block {
            Block::Copy { age, opus } => confab_voice::Block::Copy {
                age: u32::from(age) * AGE_UNIT,
                packet: opus,
            },
            Block::Xor { mask, symbol } => confab_voice::Block::Xor { mask, symbol },
            Block::RandomLinear { mask, symbol } => {
                confab_voice::Block::RandomLinear { mask, symbol }
            }
        });
        let blocks: Vec<_> = blocks.collect();
        self.listener.push(now, stream, frame, &blocks)?;
        if payload.comfort || !level.is_voice() {
            return Ok(None);
        }
        speaker.voice_until = Some(now + SPEAKING_HOLD);
        Ok(speaker.set_speaking(true))
    }

    /// Counts a frame of `join` that was received a second time.
    pub fn count_duplicate(&mut self, join: JoinId) {
        let stream = self.streams.get(&join);
        if let Some(speaker) = stream.and_then(|stream| self.by_stream.get_mut(stream)) {
            speaker.duplicates += 1;
        }
    }

    /// The relay has stopped forwarding this sender because others are louder: its stream pauses. Returns the change if the
    /// sender was speaking.
    pub fn suppress(&mut self, sender: u16) -> Option<Speaking> {
        let (stream, speaker) = self
            .by_stream
            .iter_mut()
            .find(|(_, speaker)| speaker.participant.sender == sender)?;
        speaker.suppressed = true;
        speaker.voice_until = None;
        self.listener.pause(*stream);
        speaker.set_speaking(false)
    }

    /// The participants who have stopped speaking by `now`.
    pub fn expire(&mut self, now: Instant) -> impl Iterator<Item = Speaking> {
        self.by_stream.values_mut().filter_map(move |speaker| {
            if speaker.voice_until.is_none_or(|until| now < until) {
                return None;
            }
            speaker.voice_until = None;
            speaker.set_speaking(false)
        })
    }

    /// When [`expire`](Self::expire) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.by_stream
            .values()
            .filter_map(|speaker| speaker.voice_until)
            .min()
    }

    /// Fills `mix`, and calls `each` with each participant's samples. Samples that are not `heard` are counted apart.
    pub fn play(
        &mut self,
        now: Instant,
        mix: &mut [f32],
        heard: bool,
        mut each: impl FnMut(&Participant, &[f32]),
    ) {
        let by_stream = &mut self.by_stream;
        self.listener.pull_each(now, mix, |stream, pulled, pcm| {
            let Some(speaker) = by_stream.get_mut(&stream).filter(|_| pulled.voice > 0) else {
                return;
            };
            let voice = &pcm[..pulled.voice.min(pcm.len())];
            if heard {
                speaker.energy += voice
                    .iter()
                    .map(|sample| f64::from(*sample).powi(2))
                    .sum::<f64>();
                speaker.samples += voice.len() as u64;
            } else {
                speaker.unheard += voice.len() as u64;
            }
            each(&speaker.participant, pcm);
        });
    }

    /// The counts of all participants, those who left first.
    pub fn stats(&self) -> Vec<SpeakerStats> {
        let here = self
            .by_stream
            .keys()
            .filter_map(|stream| self.stats_of(*stream));
        self.gone.iter().cloned().chain(here).collect()
    }

    fn stats_of(&self, number: u32) -> Option<SpeakerStats> {
        let speaker = self.by_stream.get(&number)?;
        let stream = self
            .listener
            .stats()
            .find(|(of, _)| *of == number)
            .map(|(_, stats)| stats)
            .unwrap_or_default();
        let level = -10.0 * (speaker.energy / speaker.samples.max(1) as f64).log10();
        Some(SpeakerStats {
            username: speaker.participant.username.to_string(),
            sender: speaker.participant.sender,
            frames_received: stream.received,
            lost: stream.lost,
            late: stream.late,
            concealed: stream.concealed_frames,
            recovered: stream.recovered,
            duplicate: stream.duplicate + speaker.duplicates,
            undecodable: stream.decode_errors,
            unheard_ms: speaker.unheard * 1000 / u64::from(SAMPLE_RATE),
            mean_level_dbov: level.is_finite().then(|| -(level as f32)),
            delay_ms: stream.current_delay.as_secs_f32() * 1000.0,
        })
    }
}

impl Speaker {
    fn set_speaking(&mut self, speaking: bool) -> Option<Speaking> {
        let changed = std::mem::replace(&mut self.speaking, speaking) != speaking;
        changed.then(|| Speaking {
            participant: self.participant.clone(),
            speaking,
        })
    }
}

#[cfg(test)]
mod tests {
    use confab_voice::{Encoder, EncoderConfig};

    use super::*;
    use crate::engine::testing::participant;

    /// An opened frame of silence.
    fn frame() -> Vec<u8> {
        let mut encoder = Encoder::new(EncoderConfig::default()).unwrap();
        let opus = encoder.encode(&vec![0.0; encoder.frame_samples()]).unwrap();
        let payload = FramePayload {
            timestamp: 0,
            talkspurt: true,
            comfort: false,
            dred_version: 0,
            opus,
            blocks: Vec::new(),
        };
        let mut plaintext = Vec::new();
        payload.encode(&mut plaintext).unwrap();
        plaintext
    }

    #[test]
    fn counts_of_participants_who_left_are_kept_of_the_latest_only() {
        let (now, frame) = (Instant::now(), frame());
        let mut speakers = Speakers::new(Duration::from_millis(200));
        let all = MAX_GONE as u16 + 10;
        for n in 0..all {
            // `participant` has a join id for each of 256.
            let one = participant(n);
            let join = one.join_id;
            speakers.set(one);
            let pushed = speakers.push(now, join, AudioLevel::SILENCE, &frame);
            assert!(pushed.is_ok());
            speakers.remove(join);
        }
        let kept: Vec<u16> = speakers.stats().iter().map(|stats| stats.sender).collect();
        assert_eq!(kept, (10..all).collect::<Vec<_>>());
        assert!(speakers.gone.capacity() <= 2 * MAX_GONE);
    }

    #[test]
    fn nothing_is_kept_of_a_participant_who_was_never_heard() {
        let mut speakers = Speakers::new(Duration::from_millis(200));
        speakers.set(participant(1));
        speakers.remove(participant(1).join_id);
        assert!(speakers.stats().is_empty());
    }
}
