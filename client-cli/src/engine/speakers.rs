//! The others' voices: opened frames in, one mix and each speaker's own samples out.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use confab_protocol::control::Participant;
use confab_protocol::media::{AudioLevel, FramePayload, MediaError};
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

/// The participants whose frames can be opened, by leaf.
#[derive(Default)]
pub struct Speakers {
    listener: Listener,
    by_leaf: BTreeMap<u32, Speaker>,
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
    /// Adds a participant under `leaf`, in place of an earlier one.
    pub fn add(&mut self, leaf: u32, participant: Participant) {
        self.remove(leaf);
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
        self.by_leaf.insert(leaf, speaker);
    }

    /// Replaces a participant's role, mute and name. Audio goes on.
    pub fn update(&mut self, participant: &Participant) {
        let leaf = participant.leaf;
        if let Some(speaker) = leaf.and_then(|leaf| self.by_leaf.get_mut(&leaf)) {
            speaker.participant = participant.clone();
        }
    }

    /// Removes the participant under `leaf`, and keeps its counts.
    pub fn remove(&mut self, leaf: u32) {
        let stats = self.stats_of(leaf);
        if self.by_leaf.remove(&leaf).is_some() {
            self.gone
                .extend(stats.filter(|stats| stats.frames_received > 0));
            let too_many = self.gone.len().saturating_sub(MAX_GONE);
            self.gone.drain(..too_many);
        }
        self.listener.remove(leaf);
    }

    /// Takes a decrypted frame of `leaf`. `Some`: its participant began to speak.
    pub fn push(
        &mut self,
        now: Instant,
        leaf: u32,
        level: AudioLevel,
        plaintext: &[u8],
    ) -> Result<Option<Speaking>, FrameError> {
        let payload = FramePayload::parse(plaintext)?;
        let Some(speaker) = self.by_leaf.get_mut(&leaf) else {
            return Ok(None);
        };
        let frame = ReceivedFrame {
            timestamp: payload.timestamp,
            talkspurt: payload.talkspurt || std::mem::take(&mut speaker.suppressed),
            packet: payload.opus,
        };
        let redundant = payload
            .redundant
            .iter()
            .map(|block| (block.timestamp(payload.timestamp), block.opus));
        self.listener.push(now, leaf, frame, redundant)?;
        if !level.is_voice() {
            return Ok(None);
        }
        speaker.voice_until = Some(now + SPEAKING_HOLD);
        Ok(speaker.set_speaking(true))
    }

    /// Counts a frame of `leaf` that was received a second time.
    pub fn count_duplicate(&mut self, leaf: u32) {
        if let Some(speaker) = self.by_leaf.get_mut(&leaf) {
            speaker.duplicates += 1;
        }
    }

    /// The relay has stopped forwarding this sender: others are louder.
    pub fn suppress(&mut self, sender: u16) -> Option<Speaking> {
        let (leaf, speaker) = self
            .by_leaf
            .iter_mut()
            .find(|(_, speaker)| speaker.participant.sender == sender)?;
        speaker.suppressed = true;
        speaker.voice_until = None;
        self.listener.pause(*leaf);
        speaker.set_speaking(false)
    }

    /// The participants who have stopped speaking by `now`.
    pub fn expire(&mut self, now: Instant) -> impl Iterator<Item = Speaking> {
        self.by_leaf.values_mut().filter_map(move |speaker| {
            if speaker.voice_until.is_none_or(|until| now < until) {
                return None;
            }
            speaker.voice_until = None;
            speaker.set_speaking(false)
        })
    }

    /// When [`expire`](Self::expire) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.by_leaf
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
        let by_leaf = &mut self.by_leaf;
        self.listener.pull_each(now, mix, |leaf, pulled, pcm| {
            let Some(speaker) = by_leaf.get_mut(&leaf).filter(|_| pulled.voice > 0) else {
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
        let here = self.by_leaf.keys().filter_map(|leaf| self.stats_of(*leaf));
        self.gone.iter().cloned().chain(here).collect()
    }

    fn stats_of(&self, leaf: u32) -> Option<SpeakerStats> {
        let speaker = self.by_leaf.get(&leaf)?;
        let stream = self
            .listener
            .stats()
            .find(|(of, _)| *of == leaf)
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
            dred_version: 0,
            redundant: Vec::new(),
            opus,
        };
        let mut plaintext = Vec::new();
        payload.encode(&mut plaintext).unwrap();
        plaintext
    }

    #[test]
    fn counts_of_participants_who_left_are_kept_of_the_latest_only() {
        let (now, frame) = (Instant::now(), frame());
        let mut speakers = Speakers::default();
        let all = MAX_GONE as u16 + 10;
        for n in 0..all {
            speakers.add(1, participant(n));
            let pushed = speakers.push(now, 1, AudioLevel::SILENCE, &frame);
            assert!(pushed.is_ok());
            speakers.remove(1);
        }
        let kept: Vec<u16> = speakers.stats().iter().map(|stats| stats.sender).collect();
        assert_eq!(kept, (10..all).collect::<Vec<_>>());
        assert!(speakers.gone.capacity() <= 2 * MAX_GONE);
    }

    #[test]
    fn nothing_is_kept_of_a_participant_who_was_never_heard() {
        let mut speakers = Speakers::default();
        speakers.add(1, participant(1));
        speakers.remove(1);
        assert!(speakers.stats().is_empty());
    }
}
