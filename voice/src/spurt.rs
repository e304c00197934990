//! The clear side of a voice: which frames are sent, and the level and the voice flag that go with them unencrypted.
//!
//! Levels frame by frame would show the envelope of what is said, through encryption too. So the level is the speaker's usual
//! one: a mean over seconds of frames with a voice, that changes at most every 500 ms and only by 9 dB or more. The voice flag lasts over the pauses between words and phrases. Frames without it tell silence.

use crate::SAMPLES_PER_MS;
use crate::gate::{Gate, Passage, TalkMode};
use crate::level::{Activity, SILENCE_DBOV, VoiceActivity, level_dbov};

/// Shortest time between two changes of the level in a spurt, in samples (500 ms).
const LEVEL_PERIOD: usize = 500 * SAMPLES_PER_MS;
/// A mean over less voice than this is not told, in samples (100 ms).
const MIN_MEASURED: usize = 100 * SAMPLES_PER_MS;
/// A change of less than this is not told, in dB: one and a half of the steps in which levels are sent. Louder and softer
/// phrases of one speaker stay within it.
const MIN_CHANGE_DB: f32 = 9.0;
/// Share of each measured level in the usual one: the mean of about five seconds of speech.
const USUAL_WEIGHT: f32 = 0.1;
/// How long the voice flag stays set after the last frame with a voice, in samples (1 s): pauses between phrases, where the
/// background is loud enough to be sent.
const FLAG_HANGOVER: usize = 1000 * SAMPLES_PER_MS;
/// The level of a speaker who was not heard yet, in −dBov: quiet speech, louder than which a relay takes nobody for.
const FIRST_LEVEL_DBOV: f32 = 36.0;

/// What becomes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is sent.
    Sent,
    /// Silence is sent in its place.
    Silenced,
    /// It is not sent by itself. If the next ones are, it goes with them: a word may begin in it.
    Kept,
    /// It is not sent.
    Dropped,
}

/// What becomes of a frame, and what the path is told of it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Told {
    /// Whether the frame is sent.
    pub fate: Fate,
    /// The voice flag (RFC 6464 §3).
    pub voice: bool,
    /// The level, in −dBov.
    pub level_dbov: f32,
    /// Nobody speaks, and the frame is sent only to hide it. For the members, inside the encryption.
    pub comfort: bool,
}

/// Decides frame by frame what is sent and told of one's own voice.
#[derive(Debug, Default)]
pub struct Spurts {
    activity: VoiceActivity,
    gate: Gate,
    /// A word may begin before the gate opens.
    opens_late: bool,
    hide_pauses: bool,
    /// Samples for which the voice flag stays set without a voice in them.
    flagged: usize,
    in_spurt: bool,
    level: SpokenLevel,
}

impl Spurts {
    /// Nothing was heard yet. With `hide_pauses` a frame is sent for each that is heard, always with the voice flag and one
    /// level: the path cannot tell speech from pauses.
    pub fn new(mode: TalkMode, hide_pauses: bool) -> Self {
        Self {
            gate: Gate::new(mode),
            opens_late: matches!(mode, TalkMode::Voice | TalkMode::Threshold(_)),
            hide_pauses,
            ..Self::default()
        }
    }

    /// What decides which frames are sent.
    pub fn gate(&mut self) -> &mut Gate {
        &mut self.gate
    }

    /// Hears the next frame, of any length.
    pub fn hear(&mut self, pcm: &[f32]) -> Told {
        let heard = level_dbov(pcm);
        let activity = self.activity.update(heard, pcm.len());
        let passage = self.gate.hear(pcm, heard);
        if self.hide_pauses {
            let is_silenced = match passage {
                Passage::Open => false,
                Passage::Shut => self.opens_late,
                Passage::Locked => true,
            };
            return Told {
                fate: if is_silenced {
                    Fate::Silenced
                } else {
                    Fate::Sent
                },
                voice: true,
                level_dbov: FIRST_LEVEL_DBOV,
                comfort: is_silenced || activity == Activity::Quiet,
            };
        }
        // Nothing is told of what the person does not want to be heard.
        let activity = match passage {
            Passage::Locked => Activity::Quiet,
            Passage::Open | Passage::Shut => activity,
        };
        let spoken = (activity == Activity::Voice).then_some(heard);
        self.flagged = match spoken {
            Some(_) => FLAG_HANGOVER,
            None => self.flagged.saturating_sub(pcm.len()),
        };
        if passage == Passage::Locked {
            self.flagged = 0;
        }
        let in_spurt = activity != Activity::Quiet;
        if in_spurt && !self.in_spurt {
            self.level.restart();
        }
        self.in_spurt = in_spurt;
        if in_spurt {
            self.level.measure(spoken, pcm.len());
        }
        let voice = self.flagged > 0;
        let level_dbov = match voice {
            true => self.level.told_dbov,
            false => SILENCE_DBOV,
        };
        let fate = match passage {
            Passage::Open => Fate::Sent,
            Passage::Shut if self.opens_late => Fate::Kept,
            Passage::Shut | Passage::Locked => Fate::Dropped,
        };
        Told {
            fate,
            voice,
            level_dbov,
            comfort: false,
        }
    }
}

/// The level that is told of a voice.
#[derive(Clone, Debug)]
struct SpokenLevel {
    told_dbov: f32,
    /// The mean of what was measured, later measurements counting more.
    usual_dbov: Option<f32>,
    /// In the spurt, since the last measurement: samples, those of frames with a voice, and the energy of these.
    since: usize,
    measured: usize,
    energy: f64,
}

impl Default for SpokenLevel {
    fn default() -> Self {
        Self {
            told_dbov: FIRST_LEVEL_DBOV,
            usual_dbov: None,
            since: 0,
            measured: 0,
            energy: 0.0,
        }
    }
}

impl SpokenLevel {
    /// Hears a frame of a spurt, with its level if it has a voice.
    fn measure(&mut self, spoken_dbov: Option<f32>, samples: usize) {
        self.since += samples;
        if let Some(dbov) = spoken_dbov {
            self.measured += samples;
            self.energy += samples as f64 * 10f64.powf(f64::from(dbov) / -10.0);
        }
        if self.since >= LEVEL_PERIOD {
            if self.measured >= MIN_MEASURED {
                self.take_mean();
            }
            self.restart();
        }
    }

    /// Begins to measure anew.
    fn restart(&mut self) {
        (self.since, self.measured, self.energy) = (0, 0, 0.0);
    }

    fn take_mean(&mut self) {
        let measured = (-10.0 * (self.energy / self.measured as f64).log10()) as f32;
        let before = self.usual_dbov.unwrap_or(measured);
        let usual = before + USUAL_WEIGHT * (measured - before);
        self.usual_dbov = Some(usual);
        if (usual - self.told_dbov).abs() >= MIN_CHANGE_DB {
            self.told_dbov = usual;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::HANGOVER_SAMPLES;

    const FRAME: usize = 20 * SAMPLES_PER_MS;

    /// A frame at a level in −dBov.
    fn frame(dbov: f32) -> Vec<f32> {
        let amplitude = 10f32.powf(dbov / -20.0);
        let sign = |n: usize| if n.is_multiple_of(2) { 1.0 } else { -1.0 };
        (0..FRAME).map(|n| amplitude * sign(n)).collect()
    }

    fn is_sent(told: &Told) -> bool {
        told.fate == Fate::Sent
    }

    fn hear(spurts: &mut Spurts, dbov: f32, frames: usize) -> Vec<Told> {
        let frame = frame(dbov);
        (0..frames).map(|_| spurts.hear(&frame)).collect()
    }

    #[test]
    fn a_pause_is_not_sent_and_what_can_be_heard_is() {
        let mut spurts = Spurts::default();
        assert!(
            hear(&mut spurts, 70.0, 50)
                .iter()
                .all(|told| !is_sent(told))
        );
        let first = hear(&mut spurts, 24.0, 1)[0];
        assert!(
            is_sent(&first) && first.voice,
            "no frame of a spurt is missed"
        );
        assert!(hear(&mut spurts, 24.0, 50).iter().all(is_sent));
        let tail = hear(&mut spurts, 70.0, 50);
        let sent = tail.iter().take_while(|told| is_sent(told)).count();
        assert_eq!(sent, HANGOVER_SAMPLES / FRAME - 1);
        assert!(tail[..sent].iter().all(|told| told.voice));
        assert!(tail[sent..].iter().all(|told| !is_sent(told)));
        // A steady sound is not a voice for long, but it is not cut.
        let hum = hear(&mut spurts, 50.0, 3000);
        assert!(hum.iter().all(is_sent));
        assert!(!hum[2999].voice);
        assert_eq!(hum[2999].level_dbov, SILENCE_DBOV);
    }

    #[test]
    fn the_voice_flag_stays_set_over_the_pauses_of_a_noisy_room() {
        let mut spurts = Spurts::default();
        hear(&mut spurts, 50.0, 1500);
        assert!(!hear(&mut spurts, 50.0, 1)[0].voice, "noise is no voice");
        let mut phrases = Vec::new();
        for _ in 0..5 {
            phrases.extend(hear(&mut spurts, 24.0, 50));
            phrases.extend(hear(&mut spurts, 50.0, 45));
        }
        assert!(phrases.iter().all(|told| is_sent(told) && told.voice));
        let tail = hear(&mut spurts, 50.0, 50);
        assert!(tail.iter().all(is_sent));
        assert!(!tail[49].voice);
    }

    #[test]
    fn louder_and_softer_phrases_of_one_speaker_have_one_level() {
        let mut spurts = Spurts::default();
        let mut told = Vec::new();
        for n in 0..100 {
            told.extend(hear(&mut spurts, [20.0, 26.0, 23.0, 29.0][n % 4], 30));
            told.extend(hear(&mut spurts, 127.0, 20));
        }
        let told: Vec<f32> = told
            .iter()
            .filter(|told| told.voice)
            .map(|told| told.level_dbov)
            .collect();
        assert_eq!(told[0], FIRST_LEVEL_DBOV);
        assert!(told[25..].iter().all(|level| *level == told[25]));
        assert!((18.0..30.0).contains(&told[25]));
    }

    #[test]
    fn the_level_follows_a_speaker_who_comes_closer_in_seconds() {
        let mut spurts = Spurts::default();
        hear(&mut spurts, 36.0, 500);
        let told = hear(&mut spurts, 18.0, 500);
        let changes = (1..told.len())
            .filter(|n| told[*n].level_dbov != told[n - 1].level_dbov)
            .collect::<Vec<_>>();
        assert!((1..=2).contains(&changes.len()), "{changes:?}");
        assert!((told[499].level_dbov - 18.0).abs() < MIN_CHANGE_DB);
    }

    #[test]
    fn hidden_pauses_look_like_speech_to_the_path() {
        let mut spurts = Spurts::new(TalkMode::Open, true);
        let speech = hear(&mut spurts, 24.0, 50);
        let pause = hear(&mut spurts, 127.0, 50);
        let path = |told: &Told| (is_sent(told), told.voice, told.level_dbov);
        assert!(
            speech
                .iter()
                .chain(&pause)
                .all(|told| path(told) == (true, true, 36.0))
        );
        assert!(!speech[0].comfort && pause[49].comfort);
    }

    #[test]
    fn what_comes_before_a_word_is_kept_for_it_unless_the_person_is_muted() {
        let mut spurts = Spurts::new(TalkMode::Threshold(30.0), false);
        assert!(
            hear(&mut spurts, 40.0, 5)
                .iter()
                .all(|told| told.fate == Fate::Kept)
        );
        spurts.gate().mute(true);
        assert!(
            hear(&mut spurts, 24.0, 5)
                .iter()
                .all(|told| told.fate == Fate::Dropped)
        );
        // Where everything that can be heard opens the gate, nothing comes before it.
        let mut spurts = Spurts::default();
        assert_eq!(hear(&mut spurts, 70.0, 1)[0].fate, Fate::Dropped);
    }

    #[test]
    fn nothing_is_told_of_what_is_said_while_muted() {
        let mut spurts = Spurts::default();
        // The room's noise is known.
        hear(&mut spurts, 50.0, 1500);
        spurts.gate().mute(true);
        hear(&mut spurts, 15.0, 100);
        spurts.gate().mute(false);
        let told = hear(&mut spurts, 50.0, 1)[0];
        assert_eq!((told.voice, told.level_dbov), (false, SILENCE_DBOV));
    }

    #[test]
    fn with_hidden_pauses_a_muted_person_sends_silence() {
        let mut spurts = Spurts::new(TalkMode::Open, true);
        spurts.gate().mute(true);
        let told = hear(&mut spurts, 24.0, 1)[0];
        assert_eq!(
            (told.fate, told.voice, told.comfort),
            (Fate::Silenced, true, true)
        );
    }
}
