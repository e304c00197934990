//! Somebody speaks for minutes among members who make noise.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::noise::{MANNERS, Manner, Noise};
use super::speech::Speech;
use super::*;

const PLACES: usize = 16;
const NOISE_SENDERS: u32 = 20;
const MINUTES: u32 = 10;
const FRAMES_PER_MINUTE: u32 = 60 * 50;

/// Who speaks, who makes noise, and who of them begins.
#[derive(Clone, Copy, Debug)]
struct Scene {
    seed: u64,
    places: usize,
    manner: Manner,
    noise_senders: u32,
    accounts: u32,
    /// The talker's level, in −dBov.
    usual: f32,
    minutes: u32,
    /// Frames before the speech begins, and before the noise does.
    speech_begins: u32,
    noise_begins: u32,
}

/// What the speech lost.
#[derive(Debug)]
struct Loss {
    /// Frames in each minute.
    by_minute: Vec<u32>,
    /// The longest time for which a talker with a frame had no place.
    longest_wait: Duration,
}

impl Scene {
    /// Twenty noise senders of so many accounts in a room with the usual number of places, for ten minutes.
    fn twenty(seed: u64, manner: Manner, accounts: u32) -> Self {
        Self {
            seed,
            places: PLACES,
            manner,
            noise_senders: NOISE_SENDERS,
            accounts,
            usual: [20.0, 24.0, 30.0, 36.0][seed as usize % 4],
            minutes: MINUTES,
            speech_begins: 0,
            noise_begins: 0,
        }
    }

    fn play(self) -> Loss {
        let mut room = Room::new(self.places);
        let mut noise = Noise::new(self.seed, self.manner, self.noise_senders, self.accounts);
        let mut speech = Speech::new(self.seed, self.usual);
        let mut talker = Device::new(1, 1);
        let mut loss = Loss {
            by_minute: vec![0; self.minutes as usize],
            longest_wait: Duration::ZERO,
        };
        let mut waits_since = None;
        for at in 0..self.speech_begins + self.minutes * FRAMES_PER_MINUTE {
            let moment = (at >= self.speech_begins).then(|| speech.next());
            let is_speech = moment.is_some_and(|moment| moment.is_speech);
            // The talker's frame comes at any of four times within the 20 ms.
            let turn = (self.seed as usize + at as usize / 1000) % 4;
            for quarter in 0..4 {
                room.pass(FRAME / 4);
                if at >= self.noise_begins {
                    noise.send(&mut room, quarter, is_speech);
                }
                let level = moment.and_then(|moment| moment.level);
                let Some(level) = level.filter(|_| quarter == turn) else {
                    continue;
                };
                let admission = room.send(&mut talker, level);
                if admission != Admission::Refuse || !is_speech {
                    waits_since = None;
                    continue;
                }
                let since = *waits_since.get_or_insert(room.now);
                loss.longest_wait = loss.longest_wait.max(room.now - since);
                let minute = (at - self.speech_begins) / FRAMES_PER_MINUTE;
                loss.by_minute[minute as usize] += 1;
            }
        }
        loss
    }
}

/// Twenty noise senders of any number of accounts below that of the places cost the talker nothing but a hold time when it
/// comes.
#[test]
fn speech_keeps_its_place_among_noise_senders_of_fewer_accounts_than_there_are_places() {
    for (seed, manner) in (0..).zip(MANNERS) {
        for accounts in [1, 2, 3, 8, 15] {
            for speech_begins in [0, 250] {
                let scene = Scene {
                    speech_begins,
                    ..Scene::twenty(seed, manner, accounts)
                };
                let loss = scene.play();
                assert!(loss.longest_wait < MIN_HOLD, "{scene:?}: {loss:?}");
                assert!(loss.by_minute[0] <= 20, "{scene:?}: {loss:?}");
                let later = &loss.by_minute[1..];
                assert!(later.iter().all(|lost| *lost == 0), "{scene:?}: {loss:?}");
            }
        }
    }
}

/// The same for rooms of any size, with any number of noise senders and any mixture of what they do.
#[test]
fn an_account_waits_no_longer_than_a_hold_time_while_fewer_others_speak_than_there_are_places() {
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let places = random.random_range(2..12);
        let accounts = random.random_range(1..places as u32);
        let scene = Scene {
            places,
            accounts,
            noise_senders: accounts + random.random_range(0..16),
            manner: match seed % 3 {
                0 => MANNERS[random.random_range(0..MANNERS.len())],
                _ => Manner::Whims,
            },
            minutes: 1,
            speech_begins: random.random_range(0..500),
            ..Scene::twenty(seed, Manner::Whims, accounts)
        };
        let loss = scene.play();
        assert!(loss.longest_wait < MIN_HOLD, "{scene:?}: {loss:?}");
    }
}

/// Among more accounts than there are places nothing is promised. But nobody is so loud that they take a place from
/// somebody who speaks, and a breath does not cost it.
#[test]
fn speech_that_came_first_keeps_its_place_among_simple_noise_of_an_account_each() {
    let is_simple = |manner: &Manner| {
        matches!(
            manner,
            Manner::Constant(_)
                | Manner::Alternating(_)
                | Manner::Pausing { .. }
                | Manner::Rotating { .. }
        )
    };
    for (seed, manner) in (0..).zip(MANNERS.into_iter().filter(is_simple)) {
        for usual in [20.0, 24.0, 30.0] {
            let scene = Scene {
                usual,
                noise_begins: 100,
                ..Scene::twenty(seed, manner, NOISE_SENDERS)
            };
            let loss = scene.play();
            let most = loss.by_minute.iter().max();
            assert!(most.is_some_and(|most| *most <= 25), "{scene:?}: {loss:?}");
        }
    }
}

#[test]
fn speech_gets_a_place_from_steady_noise_of_an_account_each() {
    for (seed, level) in (0..).zip([0.0, 6.0, 24.0, 48.0]) {
        let scene = Scene {
            usual: 24.0,
            speech_begins: 250,
            ..Scene::twenty(seed, Manner::Constant(level), NOISE_SENDERS)
        };
        let loss = scene.play();
        let in_first_minute = loss.by_minute[0];
        assert!(in_first_minute < 10 * 50, "-{level} dBov: {loss:?}");
        let later = &loss.by_minute[1..];
        assert!(
            later.iter().all(|lost| *lost == 0),
            "-{level} dBov: {loss:?}"
        );
    }
}
