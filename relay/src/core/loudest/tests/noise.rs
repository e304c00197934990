//! Members who want the places of others, and say whatever helps.

use std::time::Duration;

use confab_protocol::media::AudioLevel;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Device, Room, voice};

/// How they go about it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Manner {
    /// One level all the time.
    Constant(f32),
    /// As loud as may be and as quiet as may be, in turn.
    Alternating(Duration),
    /// On and off, each by its own clock.
    Pausing { on: Duration, off: Duration },
    /// A few at a time, then the next few: each is fresh.
    Rotating { at_once: u32, turn: Duration },
    /// Any level at any time.
    Random,
    /// Quiet in the place, loud outside: so places go to and fro as often as they may.
    Swapping,
    /// Loud only while the one who speaks is silent, and for a while after.
    Lurking,
    /// Ends its session and comes again.
    Rejoining(Duration),
    /// Each goes on with something for a while, then with something else.
    Whims,
}

pub(super) const MANNERS: [Manner; 16] = [
    Manner::Constant(0.0),
    Manner::Constant(6.0),
    Manner::Constant(24.0),
    Manner::Alternating(Duration::from_millis(40)),
    Manner::Alternating(Duration::from_millis(400)),
    Manner::Alternating(Duration::from_secs(3)),
    Manner::Pausing {
        on: Duration::from_millis(100),
        off: Duration::from_millis(310),
    },
    Manner::Pausing {
        on: Duration::from_secs(1),
        off: Duration::from_secs(1),
    },
    Manner::Rotating {
        at_once: 5,
        turn: Duration::from_millis(410),
    },
    Manner::Rotating {
        at_once: 16,
        turn: Duration::from_secs(4),
    },
    Manner::Random,
    Manner::Swapping,
    Manner::Lurking,
    Manner::Rejoining(Duration::from_millis(500)),
    Manner::Rejoining(Duration::from_secs(4)),
    Manner::Whims,
];

/// Noise senders of one mind.
pub(super) struct Noise {
    manner: Manner,
    devices: Vec<Device>,
    whims: Vec<Whim>,
    random: StdRng,
    next_slot: u32,
}

/// What a device is about.
#[derive(Clone, Copy)]
enum Whim {
    Level(f32),
    NoVoice,
    Nothing,
}

impl Noise {
    /// So many, of so many accounts.
    pub(super) fn new(seed: u64, manner: Manner, devices: u32, accounts: u32) -> Self {
        let device = |n| Device::new(100 + n, 1000 + n % accounts);
        Self {
            manner,
            devices: (0..devices).map(device).collect(),
            whims: vec![Whim::Nothing; devices as usize],
            random: StdRng::seed_from_u64(seed),
            next_slot: 100 + devices,
        }
    }

    /// All that they send within 20 ms, of which this is the `quarter`th part. `is_speaking`: the other one.
    pub(super) fn send(&mut self, room: &mut Room, quarter: usize, is_speaking: bool) {
        for at in (quarter..self.devices.len()).step_by(4) {
            if let Manner::Rejoining(after) = self.manner {
                self.rejoin(room, at, after);
            }
            if let Some(level) = self.level(room, at, is_speaking) {
                room.send(&mut self.devices[at], level);
            }
        }
    }

    fn level(&mut self, room: &Room, at: usize, is_speaking: bool) -> Option<AudioLevel> {
        let time = room.now - room.start;
        let turn = |length: Duration| (time.as_millis() / length.as_millis()) as usize;
        match self.manner {
            Manner::Constant(level) => Some(voice(level)),
            Manner::Alternating(length) => {
                let is_loud = (turn(length) + at).is_multiple_of(2);
                Some(voice(if is_loud { 0.0 } else { 126.0 }))
            }
            Manner::Pausing { on, off } => {
                let own_clock = time + (on + off) * at as u32 / 7;
                let in_turn = own_clock.as_millis() % (on + off).as_millis();
                (in_turn < on.as_millis()).then(|| voice(0.0))
            }
            Manner::Rotating {
                at_once,
                turn: length,
            } => {
                let first = turn(length) * at_once as usize;
                let behind =
                    (at + self.devices.len() - first % self.devices.len()) % self.devices.len();
                (behind < at_once as usize).then(|| voice(0.0))
            }
            Manner::Random => {
                let byte = self.random.random::<u8>() | 0x80;
                let (level, _) = AudioLevel::from_byte(byte).in_steps();
                self.random.random_bool(0.7).then_some(level)
            }
            Manner::Swapping => {
                let session = self.devices[at].session;
                let mut places = room.loudest.places.iter();
                let is_in = places.any(|place| place.session == session);
                Some(voice(if is_in { 126.0 } else { 0.0 }))
            }
            Manner::Lurking => {
                (!is_speaking || turn(Duration::from_secs(1)) % 3 == 0).then(|| voice(0.0))
            }
            Manner::Rejoining(_) => Some(voice(0.0)),
            Manner::Whims => self.whim(at),
        }
    }

    fn whim(&mut self, at: usize) -> Option<AudioLevel> {
        let whim = self.whims.get_mut(at)?;
        if self.random.random_ratio(1, 15) {
            *whim = match self.random.random_range(0..8) {
                0..2 => Whim::Level(0.0),
                2..4 => Whim::Level(126.0),
                4 => Whim::Level(self.random.random_range(0.0..127.0)),
                5 => Whim::NoVoice,
                _ => Whim::Nothing,
            };
        }
        match *whim {
            Whim::Level(level) => Some(voice(level)),
            Whim::NoVoice => Some(AudioLevel::new(false, 0.0)),
            Whim::Nothing => None,
        }
    }

    fn rejoin(&mut self, room: &mut Room, at: usize, after: Duration) {
        let frames = after.as_millis() / 20;
        if !self.random.random_ratio(1, frames as u32) {
            return;
        }
        let device = &mut self.devices[at];
        room.loudest.forget(device.session);
        // What was seen of its place was of another session: it is free, and no place changes hands.
        room.seen.retain(|(session, _)| *session != device.session);
        *device = Device::new(self.next_slot, device.account);
        self.next_slot += 1;
    }
}
