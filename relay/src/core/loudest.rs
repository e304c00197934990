//! Who of a room is forwarded when more speak than may: the loudest, without flutter.
//!
//! Levels are what speakers say of themselves (RFC 6464). So one who always claims to be loudest ages.

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use confab_protocol::media::AudioLevel;

use super::session::Seat;

/// Most speakers of a room that can be forwarded at once, whatever the flag says.
pub const MAX_SPEAKERS: usize = 64;

/// One who is forwarded gives way to another only if that one is louder by so many dB.
const HYSTERESIS_DB: f32 = 6.0;

/// And only after having been forwarded for so long: shorter would cut syllables.
const MIN_HOLD: Duration = Duration::from_millis(400);

/// One who has sent nothing for so long has stopped speaking and gives way at once.
const PAUSE: Duration = Duration::from_millis(300);

/// Share of a frame's level in the smoothed one while it rises: a first word is not cut off.
const ATTACK: f32 = 0.35;
/// And while it falls: a time constant of about 16 frames, so that a pause for breath is not the end.
const DECAY: f32 = 0.06;

/// Levels up to here, in −dBov, are what speech does not hold for long.
const SUSPICIOUS_DBOV: u8 = 6;
/// Frames at such a level before it ages: 1 s of 20 ms frames.
const PATIENCE: u16 = 50;
/// Frames of age that cost 1 dB.
const FRAMES_PER_DB: u16 = 5;
/// What each frame at an honest level takes off the age.
const RECOVERY: u16 = 4;
/// Most that age can cost, in dB.
const MAX_AGE_DB: u16 = 90;

/// How loud one speaker has been lately.
#[derive(Clone, Debug, Default)]
pub struct Loudness {
    /// dB over silence (−127 dBov), smoothed.
    smoothed: f32,
    /// Frames in excess at a suspicious level.
    age: u16,
}

impl Loudness {
    /// Takes in a frame's level and gives the speaker's rank: dB over silence, smoothed, less what age costs.
    pub fn hear(&mut self, level: AudioLevel) -> f32 {
        let over_silence = if level.is_voice() {
            127.0 - f32::from(level.minus_dbov())
        } else {
            0.0
        };
        let rise = over_silence - self.smoothed;
        self.smoothed += rise * if rise > 0.0 { ATTACK } else { DECAY };
        self.age = if level.minus_dbov() <= SUSPICIOUS_DBOV {
            let most = PATIENCE + MAX_AGE_DB * FRAMES_PER_DB;
            (self.age + 1).min(most)
        } else {
            self.age.saturating_sub(RECOVERY)
        };
        let cost = self.age.saturating_sub(PATIENCE) / FRAMES_PER_DB;
        self.smoothed - f32::from(cost)
    }
}

/// Those of a room who are forwarded.
#[derive(Debug, Default)]
pub struct Loudest {
    forwarded: ArrayVec<Forwarded, MAX_SPEAKERS>,
}

#[derive(Clone, Copy, Debug)]
struct Forwarded {
    seat: Seat,
    sender: u16,
    rank: f32,
    since: Instant,
    last: Instant,
}

/// What is to become of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// It is forwarded.
    Forward,
    /// It is forwarded, and this speaker no longer is: the room has to be told.
    InsteadOf {
        /// The session that gives way.
        seat: Seat,
        /// Its label.
        sender: u16,
    },
    /// Others are louder.
    Refuse,
}

impl Loudest {
    /// Decides on a frame of the session in `seat`, whose rank is `rank`, in a room that forwards `limit` speakers.
    pub fn admit(
        &mut self,
        now: Instant,
        limit: usize,
        seat: Seat,
        sender: u16,
        rank: f32,
    ) -> Admission {
        if let Some(known) = self.forwarded.iter_mut().find(|known| known.seat == seat) {
            known.sender = sender;
            known.rank = rank;
            known.last = now;
            return Admission::Forward;
        }
        let newcomer = Forwarded {
            seat,
            sender,
            rank,
            since: now,
            last: now,
        };
        if self.forwarded.len() < limit.min(MAX_SPEAKERS) {
            self.forwarded.push(newcomer);
            return Admission::Forward;
        }
        let paused = |known: &Forwarded| now.saturating_duration_since(known.last) >= PAUSE;
        if let Some(free) = self.forwarded.iter_mut().find(|known| paused(known)) {
            *free = newcomer;
            return Admission::Forward;
        }
        let weakest = self
            .forwarded
            .iter_mut()
            .filter(|known| now.saturating_duration_since(known.since) >= MIN_HOLD)
            .min_by(|a, b| a.rank.total_cmp(&b.rank));
        match weakest {
            Some(weakest) if rank > weakest.rank + HYSTERESIS_DB => {
                let gone = std::mem::replace(weakest, newcomer);
                Admission::InsteadOf {
                    seat: gone.seat,
                    sender: gone.sender,
                }
            }
            _ => Admission::Refuse,
        }
    }

    /// Forgets a session that has ended.
    pub fn forget(&mut self, seat: Seat) {
        self.forwarded.retain(|known| known.seat != seat);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(20);

    fn seat(slot: u32) -> Seat {
        Seat { worker: 0, slot }
    }

    fn voice(minus_dbov: f32) -> AudioLevel {
        AudioLevel::new(true, minus_dbov)
    }

    /// Lets speakers send a frame each, `frames` times; says how many of each were forwarded, and who had to stop.
    fn speak(
        room: &mut Loudest,
        now: &mut Instant,
        limit: usize,
        speakers: &mut [(Loudness, f32)],
        frames: usize,
    ) -> (Vec<usize>, Vec<u16>) {
        let mut forwarded = vec![0; speakers.len()];
        let mut stopped = Vec::new();
        for _ in 0..frames {
            *now += FRAME;
            for (n, (loudness, level)) in speakers.iter_mut().enumerate() {
                let rank = loudness.hear(voice(*level));
                match room.admit(*now, limit, seat(n as u32), n as u16, rank) {
                    Admission::Forward => forwarded[n] += 1,
                    Admission::InsteadOf { sender, .. } => {
                        forwarded[n] += 1;
                        stopped.push(sender);
                    }
                    Admission::Refuse => {}
                }
            }
        }
        (forwarded, stopped)
    }

    fn speakers(levels: &[f32]) -> Vec<(Loudness, f32)> {
        levels
            .iter()
            .map(|level| (Loudness::default(), *level))
            .collect()
    }

    #[test]
    fn the_loudest_are_forwarded_and_the_rest_is_not() {
        let (mut room, mut now) = (Loudest::default(), Instant::now());
        let mut all = speakers(&[60.0, 54.0, 30.0, 24.0, 66.0]);
        speak(&mut room, &mut now, 2, &mut all, 100);
        let (forwarded, _) = speak(&mut room, &mut now, 2, &mut all, 100);
        assert_eq!(forwarded, [0, 0, 100, 100, 0]);
    }

    #[test]
    fn nobody_is_told_apart_while_there_is_room() {
        let (mut room, mut now) = (Loudest::default(), Instant::now());
        let mut all = speakers(&[60.0, 120.0, 30.0]);
        let (forwarded, stopped) = speak(&mut room, &mut now, 3, &mut all, 100);
        assert_eq!(forwarded, [100, 100, 100]);
        assert!(stopped.is_empty());
    }

    #[test]
    fn two_who_are_about_as_loud_do_not_flutter() {
        let (mut room, mut now) = (Loudest::default(), Instant::now());
        let mut all = speakers(&[30.0, 30.0]);
        let mut changes = 0;
        for round in 0..100 {
            all[0].1 = if round % 2 == 0 { 30.0 } else { 36.0 };
            all[1].1 = if round % 2 == 0 { 36.0 } else { 30.0 };
            changes += speak(&mut room, &mut now, 1, &mut all, 5).1.len();
        }
        assert_eq!(changes, 0);
    }

    #[test]
    fn one_who_pauses_gives_way_without_a_word() {
        let (mut room, mut now) = (Loudest::default(), Instant::now());
        let mut all = speakers(&[24.0, 60.0]);
        speak(&mut room, &mut now, 1, &mut all[..1], 50);
        now += PAUSE;
        let mut quiet = Loudness::default();
        let rank = quiet.hear(voice(60.0));
        assert_eq!(room.admit(now, 1, seat(1), 1, rank), Admission::Forward);
    }

    #[test]
    fn a_level_that_is_always_at_its_maximum_ages() {
        let (mut room, mut now) = (Loudest::default(), Instant::now());
        let mut all = speakers(&[0.0, 36.0]);
        let (at_first, _) = speak(&mut room, &mut now, 1, &mut all, 50);
        assert_eq!(at_first[1], 0, "the loudest first");
        let (_, stopped) = speak(&mut room, &mut now, 1, &mut all, 500);
        assert_eq!(stopped, [0]);
        let (in_the_end, _) = speak(&mut room, &mut now, 1, &mut all, 100);
        assert_eq!(in_the_end, [0, 100]);
    }

    #[test]
    fn one_who_left_is_forgotten() {
        let (mut room, mut now) = (Loudest::default(), Instant::now());
        let mut all = speakers(&[24.0]);
        speak(&mut room, &mut now, 1, &mut all, 50);
        room.forget(seat(0));
        assert_eq!(room.admit(now, 1, seat(9), 9, 0.0), Admission::Forward);
    }
}
