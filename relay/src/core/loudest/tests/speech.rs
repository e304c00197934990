//! Somebody who speaks for minutes, as a client tells of it.

use confab_protocol::media::AudioLevel;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Frames in which a client still says that there is a voice after the last word.
const HANGOVER: u32 = 15;

/// A talker with pauses for breath and between sentences.
pub(super) struct Speech {
    random: StdRng,
    /// Of vowels, in −dBov: one of the talker's phrases is up to 6 dB louder or quieter than another.
    usual: f32,
    state: State,
}

enum State {
    Phrase {
        left: u32,
        level: f32,
        syllable: u32,
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
                let syllable = 0;
                self.state = State::Phrase {
                    left,
                    level,
                    syllable,
                };
                self.next()
            }
            State::Phrase {
                left,
                level,
                syllable,
            } => {
                *left -= 1;
                if *syllable == 0 {
                    *syllable = self.random.random_range(6..14);
                }
                *syllable -= 1;
                // A consonant of one to three frames, then a vowel.
                let softer = if *syllable < 2 { 14.0 } else { 0.0 };
                let level = *level + softer + self.random.random_range(-3.0..3.0);
                Moment {
                    level: Some(AudioLevel::new(true, level)),
                    is_speech: true,
                }
            }
            State::Pause { left, since } => {
                *left -= 1;
                *since += 1;
                let level = match *since {
                    ..HANGOVER => Some(AudioLevel::new(true, 66.0)),
                    // Some clients go on, some don't.
                    _ if self.usual < 28.0 => Some(AudioLevel::new(false, 66.0)),
                    _ => None,
                };
                Moment {
                    level,
                    is_speech: false,
                }
            }
        }
    }
}
