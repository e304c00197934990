//! The relay's work for each frame, piece by piece: the same pieces are timed by criterion, counted in instructions, and
//! watched for allocations.

use std::hint::black_box;
use std::time::Duration;

use confab_protocol::media::{HopKey, RecordDigest, ReplayWindow};

use crate::bench_room::{BenchRoom, SPEAKERS};

/// Bytes of an uplink datagram, of a downlink header's tagged part, and of a record.
const DATAGRAM: [u8; 108] = [9; 108];
const HEAD: [u8; 6] = [1; 6];
const RECORD: [u8; 90] = [9; 90];
/// How often what takes nanoseconds is done in one round.
const OFTEN: u64 = 1000;
/// Speakers without a place.
const NOISE: usize = 20;
/// The window of what is bundled.
const WINDOW: Duration = Duration::from_millis(10);

/// Runs a stretch of work that is to be measured.
pub type Measure<'a> = &'a mut dyn FnMut(&mut dyn FnMut());
/// A round of a case: prepares without measuring, and has the rest measured.
pub type Round = Box<dyn FnMut(Measure<'_>)>;

/// A piece of work.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its name in figures.
    pub name: &'static str,
    /// How often it is done in a round: what was measured is divided by it.
    pub times: u64,
    /// True when it forwards packets, and so must not allocate.
    pub forwards: bool,
    make: fn() -> Round,
}

impl Case {
    pub const ALL: &'static [Self] = &[
        Self::forwarding("fan_out_1x10", 1, || fan_out(1, 10)),
        Self::forwarding("fan_out_1x100", 1, || fan_out(1, 100)),
        Self::forwarding("fan_out_1x1000", 1, || fan_out(1, 1000)),
        Self::forwarding("fan_out_10x100", 1, || fan_out(10, 100)),
        Self::forwarding("bundling_10x100", 1, || bundling(10, 100)),
        Self::forwarding("keep_alive", 100, || keep_alives(100, false)),
        Self::forwarding("keep_alive_while_one_comes_and_one_goes", 100, || {
            keep_alives(100, true)
        }),
        Self::forwarding("fan_out_1x100_while_one_comes_and_one_goes", 1, churn),
        Self::forwarding("refused_frame", NOISE as u64, noise),
        Self::other("publish_room_of_1000", 1, publish),
        Self::other("uplink_tag", OFTEN, || {
            let key = HopKey::new([7; 16]);
            often(move || {
                black_box(key.tag(black_box(&DATAGRAM)));
            })
        }),
        Self::other("record_digest", OFTEN, || {
            often(|| {
                black_box(RecordDigest::of(black_box(&RECORD)));
            })
        }),
        Self::other("downlink_tag_1", OFTEN, || downlink_tag(1)),
        Self::other("downlink_tag_10", OFTEN, || downlink_tag(10)),
        Self::other("replay_window", OFTEN, || {
            let (mut window, mut number) = (ReplayWindow::new(), 0);
            often(move || {
                number += 1;
                let _ = black_box(window.commit(black_box(number)));
            })
        }),
    ];

    /// The case of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|case| case.name == name).copied()
    }

    pub fn start(&self) -> Round {
        (self.make)()
    }

    const fn forwarding(name: &'static str, times: u64, make: fn() -> Round) -> Self {
        Self {
            name,
            times,
            forwards: true,
            make,
        }
    }

    const fn other(name: &'static str, times: u64, make: fn() -> Round) -> Self {
        Self {
            name,
            times,
            forwards: false,
            make,
        }
    }
}

/// A frame of each speaker, forwarded to the other members. Making the datagrams is not measured.
fn fan_out(speakers: usize, members: u16) -> Round {
    let mut room = BenchRoom::new(members);
    Box::new(move |measure| {
        let datagrams = room.frames(speakers);
        measure(&mut || room.forward(&datagrams));
    })
}

/// The same, but frames come one by one, wait for each other and share datagrams.
fn bundling(speakers: usize, members: u16) -> Round {
    let mut room = BenchRoom::new(members);
    room.set_window(WINDOW);
    Box::new(move |measure| {
        let datagrams = room.frames(speakers);
        measure(&mut || room.forward_one_by_one(&datagrams, WINDOW));
    })
}

/// The relay's checks of a datagram: find the session, check tag and number; and a short answer.
fn keep_alives(members: u16, is_churning: bool) -> Round {
    let mut room = BenchRoom::new(members);
    let mut churn = Churn::default();
    Box::new(move |measure| {
        if is_churning {
            churn.turn(&mut room);
        }
        let datagrams = room.keep_alives();
        measure(&mut || room.forward(&datagrams));
    })
}

/// A frame to a hundred while somebody comes and somebody goes each time; publishing the change is not counted.
fn churn() -> Round {
    let mut room = BenchRoom::new(100);
    let mut churn = Churn::default();
    Box::new(move |measure| {
        churn.turn(&mut room);
        let datagrams = room.frames(1);
        measure(&mut || room.forward(&datagrams));
    })
}

/// Frames of those who have no place, while others of the same account have all of them.
fn noise() -> Round {
    let mut room = BenchRoom::new(100);
    Box::new(move |measure| {
        let datagrams = room.frames(SPEAKERS + NOISE);
        let (speech, noise) = datagrams.split_at(SPEAKERS);
        room.forward(speech);
        measure(&mut || room.forward_of(SPEAKERS, noise));
    })
}

/// A participant joins and leaves, and the room is published.
fn publish() -> Round {
    let mut room = BenchRoom::new(1000);
    let mut churn = Churn::default();
    Box::new(move |measure| measure(&mut || churn.turn(&mut room)))
}

/// A participant joins and another leaves, under a new label each time.
#[derive(Default)]
struct Churn(u16);

impl Churn {
    /// Labels that are taken in turn, above those of the members.
    const LABELS: u16 = 20_000;
    const FIRST: u16 = 2000;

    fn turn(&mut self, room: &mut BenchRoom) {
        let before = Self::FIRST + self.0;
        self.0 = (self.0 + 1) % Self::LABELS;
        room.leave(before);
        room.join(Self::FIRST + self.0);
        room.publish();
    }
}

fn downlink_tag(records: usize) -> Round {
    let key = HopKey::new([7; 16]);
    let digests = vec![RecordDigest::of(&RECORD); records];
    often(move || {
        black_box(key.tag_records(black_box(&HEAD), black_box(&digests)));
    })
}

fn often(mut work: impl FnMut() + 'static) -> Round {
    Box::new(move |measure| {
        measure(&mut || {
            for _ in 0..OFTEN {
                work();
            }
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_measures_one_stretch_a_round_and_has_a_name_of_its_own() {
        for (at, case) in Case::ALL.iter().enumerate() {
            let mut round = case.start();
            let mut measured = 0;
            for _ in 0..3 {
                round(&mut |work| {
                    work();
                    measured += 1;
                });
            }
            assert_eq!(measured, 3, "{}", case.name);
            let same = Case::ALL.iter().position(|other| other.name == case.name);
            assert_eq!(same, Some(at));
        }
    }
}
