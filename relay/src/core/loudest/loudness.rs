//! The recent loudness of a speaker, by its self-declared levels.
//!
//! Clients tell a level that changes at most every 500 ms, to within half a step of what it is, and a voice flag that holds for
//! some 300 ms after the last word. So syllables and short breaths do not show here: what tells speech from a steady sound
//! is a longer pause, or a phrase at another level.

use std::time::Duration;

use confab_protocol::media::AudioLevel;

/// Share of a frame's level in the smoothed level while it rises: fast, so that the first word is not cut off.
const ATTACK: f32 = 0.35;
/// The same while it falls: a time constant of about 50 frames, so that gaps between words change little.
const DECAY: f32 = 0.02;
/// The same while it is far below: a time constant of about 200 frames, so that a pause changes little.
const PAUSE_DECAY: f32 = 0.005;

/// Highest rank, in dB over silence (−127 dBov): −36 dBov, the level of quiet speech into a close microphone. Levels are
/// self-declared: a higher one would only reward a false claim.
const HIGHEST_RANK_DB: f32 = 91.0;

/// A frame that is quieter than the smoothed level by this many dB counts as without voice, whatever its flag.
const SILENCE_DB: f32 = 30.0;

/// A sound that holds a steady level for this time is not speech: speech has a pause or a change before.
const STEADY_LIMIT: Duration = Duration::from_secs(8);
/// Each further such time costs 1 dB of rank.
const TIME_PER_DB: Duration = Duration::from_millis(500);
/// The most that a steady sound costs, in dB.
const MAX_AGE_DB: f32 = 12.0;

/// A pause of this length between two voice frames ends a steady sound. Microseconds. The voice itself has paused for
/// longer, by the hang-over of its flag.
const LONG_PAUSE_US: u32 = 150_000;

/// A speaker keeps its rank in a pause of half the speech before it, within the two bounds below.
const PAUSE_SHARE: u32 = 2;
const SHORTEST_PAUSE: Duration = Duration::from_millis(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The recent loudness of a speaker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loudness {
    /// Of frames with a voice, in dB over silence.
    smoothed: f32,
    /// Since the last frame with a voice, in microseconds.
    silent: u32,
    /// The level of that frame.
    last: AudioLevel,
    /// Time for which the sound has been steady, up to the time at which that costs most.
    steady: Millis<STEADY_MS>,
    /// Time of speech less its pauses, up to the time that allows the longest pause.
    talked: Millis<TALKED_MS>,
}

/// A speaker's claim to a place, as of one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Claim {
    /// Smoothed level in dB over silence, [`HIGHEST_RANK_DB`] at most.
    rank: f32,
    steady: Millis<STEADY_MS>,
    talked: Millis<TALKED_MS>,
    /// True if the frame has a voice. Frames without one never compete.
    pub is_voice: bool,
}

const STEADY_MS: u16 =
    STEADY_LIMIT.as_millis() as u16 + MAX_AGE_DB as u16 * TIME_PER_DB.as_millis() as u16;
const TALKED_MS: u16 = LONGEST_PAUSE.as_millis() as u16 * PAUSE_SHARE as u16;

/// A time in milliseconds, `MOST` at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Millis<const MOST: u16>(u16);

impl Loudness {
    /// Takes in that time has passed.
    pub(crate) fn advance(&mut self, micros: u32) {
        self.silent = self.silent.saturating_add(micros);
    }

    /// Takes in the level of a frame that arrives now.
    pub(crate) fn update(&mut self, level: AudioLevel) -> Claim {
        let over_silence = 127.0 - f32::from(level.minus_dbov());
        let rise = over_silence - self.smoothed;
        let is_voice = level.is_voice() && rise > -SILENCE_DB;
        if is_voice {
            self.measure(level == self.last);
            self.last = level;
        }
        if level.is_voice() {
            self.smoothed += rise
                * match rise {
                    0.0.. => ATTACK,
                    _ if is_voice => DECAY,
                    _ => PAUSE_DECAY,
                };
        }
        Claim {
            rank: self.smoothed.min(HIGHEST_RANK_DB),
            steady: self.steady,
            talked: self.talked,
            is_voice,
        }
    }

    /// Counts the time since the last voice frame as steady sound, change or pause.
    fn measure(&mut self, is_steady: bool) {
        let pause = std::mem::take(&mut self.silent);
        if pause < LONG_PAUSE_US {
            let pause = pause / 1000;
            self.talked.add(pause);
            match is_steady {
                true => self.steady.add(pause),
                false => self.steady = Millis::default(),
            }
        } else {
            self.steady = Millis::default();
            self.talked.take((pause / 1000).saturating_mul(PAUSE_SHARE));
        }
    }
}

impl Claim {
    /// The rank in dB among speakers who have competed for the time `contended`, less the cost of a steady sound in it.
    pub(crate) fn rank(&self, contended: Duration) -> f32 {
        let over = self
            .steady
            .get()
            .min(contended)
            .saturating_sub(STEADY_LIMIT);
        self.rank - (over.as_secs_f32() / TIME_PER_DB.as_secs_f32()).min(MAX_AGE_DB)
    }

    /// The longest pause after this speech in which the speaker keeps its rank.
    pub(crate) fn longest_pause(&self) -> Duration {
        let pause = self.talked.get() / PAUSE_SHARE;
        pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }
}

impl<const MOST: u16> Millis<MOST> {
    fn get(self) -> Duration {
        Duration::from_millis(self.0.into())
    }

    fn add(&mut self, millis: u32) {
        let sum = u32::from(self.0) + millis;
        self.0 = sum.min(MOST.into()) as u16;
    }

    fn take(&mut self, millis: u32) {
        self.0 = u32::from(self.0).saturating_sub(millis) as u16;
    }
}
