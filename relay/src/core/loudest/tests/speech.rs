//! Somebody who speaks for minutes, as a client tells of it: the level changes at most every 500 ms, and the voice flag has a
//! hang-over.

use confab_protocol::media::AudioLevel;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Frames in which a client still says that there is a voice after the last word.
const HANGOVER: u32 = 15;
/// Frames between two changes of the level in a spurt: 500 ms.
const LEVEL_PERIOD: u32 = 25;
/// A change of less than this is not told, in dB.
const MIN_CHANGE_DB: f32 = 3.0;

/// A talker with pauses for breath and between sentences.
pub(super) struct Speech {
    random: StdRng,
    /// Of vowels, in −dBov: one of the talker's phrases is up to 6 dB louder or quieter than another.
    usual: f32,
    state: State,
    told: ToldLevel,
}

/// The level that is told, as clients choose it.
struct ToldLevel {
    told: f32,
    /// Mean of what was measured.
    usual: Option<f32>,
    /// Since the last change: frames, those with a sound, and the energy of these.
    since: u32,
    measured: u32,
    energy: f32,
    in_spurt: bool,
}

enum State {
    Phrase {
        left: u32,
        level: f32,
        syllable: u32,
        /// How much quieter this syllable is than the phrase.
        unstressed: f32,
    },
    Pause {
        left: u32,
        since: u32,
    },
}

/// 20 ms of it.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// What is sent; nothing in pauses, at times.
    pub(super) level: Option<AudioLevel>,
    /// Whether it is part of a phrase, and to be heard.
    pub(super) is_speech: bool,
}

impl Speech {
    /// A talker whose vowels are at `usual` −dBov.
    pub(super) fn new(seed: u64, usual: f32) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            usual,
            state: State::Pause { left: 0, since: 0 },
            told: ToldLevel {
                told: 36.0,
                usual: None,
                since: 0,
                measured: 0,
                energy: 0.0,
                in_spurt: false,
            },
        }
    }

    pub(super) fn next(&mut self) -> Moment {
        match &mut self.state {
            State::Phrase { left: 0, .. } => {
                // A breath; a sentence's end each fourth time.
                let left = match self.random.random_range(0..4) {
                    0 => self.random.random_range(30..100),
                    _ => self.random.random_range(10..35),
                };
                self.state = State::Pause { left, since: 0 };
                self.next()
            }
            State::Pause { left: 0, .. } => {
                let level = self.usual + self.random.random_range(-6.0..6.0);
                let left = self.random.random_range(60..350);
                self.state = State::Phrase {
                    left,
                    level,
                    syllable: 0,
                    unstressed: 0.0,
                };
                self.next()
            }
            State::Phrase {
                left,
                level,
                syllable,
                unstressed,
            } => {
                *left -= 1;
                if *syllable == 0 {
                    *syllable = self.random.random_range(6..14);
                    // So that three of ten half seconds tell another level; of recorded speech four do.
                    *unstressed = self.random.random_range(-6.0..6.0);
                }
                *syllable -= 1;
                // A consonant of one to three frames, then a vowel.
                let softer = if *syllable < 2 { 14.0 } else { 0.0 };
                let level = *level + *unstressed + softer + self.random.random_range(-3.0..3.0);
                Moment {
                    level: Some(AudioLevel::new(true, self.told.tell(Some(level)))),
                    is_speech: true,
                }
            }
            State::Pause { left, since } => {
                *left -= 1;
                *since += 1;
                let level = match *since {
                    ..HANGOVER => Some(AudioLevel::new(true, self.told.tell(None))),
                    _ => {
                        self.told.in_spurt = false;
                        // Some clients go on, some don't.
                        (self.usual < 28.0).then_some(AudioLevel::SILENCE)
                    }
                };
                Moment {
                    level,
                    is_speech: false,
                }
            }
        }
    }
}

impl ToldLevel {
    /// Hears a frame of a spurt, with its level if there is a sound in it.
    fn tell(&mut self, level: Option<f32>) -> f32 {
        if !std::mem::replace(&mut self.in_spurt, true) {
            self.told = self.usual.unwrap_or(self.told);
            (self.since, self.measured, self.energy) = (0, 0, 0.0);
        }
        self.since += 1;
        if let Some(level) = level {
            self.measured += 1;
            self.energy += 10f32.powf(level / -10.0);
        }
        if self.since == LEVEL_PERIOD {
            if self.measured >= LEVEL_PERIOD / 5 {
                let measured = -10.0 * (self.energy / self.measured as f32).log10();
                let before = self.usual.unwrap_or(measured);
                self.usual = Some(before + 0.25 * (measured - before));
                if (measured - self.told).abs() >= MIN_CHANGE_DB {
                    self.told = measured;
                }
            }
            (self.since, self.measured, self.energy) = (0, 0, 0.0);
        }
        self.told
    }
}
