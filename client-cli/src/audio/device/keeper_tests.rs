use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::audio::device::period::{NARROWEST, WIDEST};

const STEP: u64 = 10;

/// How a device behaves at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Card {
    Works,
    /// Opens, and moves nothing.
    Stands,
    /// Not there: open streams end, opening fails.
    Gone,
    /// Opening does not end; open streams go on.
    Hangs,
    /// Reports an error in each millisecond and moves nothing.
    Storms,
    /// Asks for sound without a pause.
    Races,
}

/// Two devices and a clock.
struct World {
    keeper: Keeper,
    start: Instant,
    ms: u64,
    wanted: Card,
    other: Card,
    quiet: bool,
    streams: BTreeMap<StreamId, Stream>,
    /// Tries that have not ended: when they will if the device lets them.
    opening: Vec<(StreamId, Choice, Duration, u64)>,
    used: Option<StreamId>,
    /// Times at which the wanted device was tried.
    tries: Vec<u64>,
    told: Vec<(u64, Notice)>,
    /// Milliseconds without sound.
    silent: u64,
    most_open: usize,
}

struct Stream {
    choice: Choice,
    period: Duration,
    calls: u64,
    frames: u64,
}

impl World {
    fn new(wanted: Card, other: Card) -> Self {
        let start = Instant::now();
        Self {
            keeper: Keeper::new(start),
            start,
            ms: 0,
            wanted,
            other,
            quiet: false,
            streams: BTreeMap::new(),
            opening: Vec::new(),
            used: None,
            tries: Vec::new(),
            told: Vec::new(),
            silent: 0,
            most_open: 0,
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    fn card(&self, choice: Choice) -> Card {
        match choice {
            Choice::Wanted => self.wanted,
            Choice::Other => self.other,
        }
    }

    fn run(&mut self, ms: u64) {
        let end = self.ms + ms;
        while self.ms < end {
            self.ms += STEP;
            self.answer();
            self.move_streams();
            self.keeper.poll(self.now(), self.quiet);
            self.act();
            let moves = self.used.and_then(|id| self.streams.get(&id));
            if moves.is_none_or(|stream| self.card(stream.choice) != Card::Works) {
                self.silent += STEP;
            }
            let told = std::iter::from_fn(|| self.keeper.poll_notice());
            self.told.extend(told.map(|notice| (self.ms, notice)));
        }
    }

    fn answer(&mut self) {
        let now = self.now();
        let opening = std::mem::take(&mut self.opening);
        for (id, choice, period, at) in opening {
            let answer = match self.card(choice) {
                Card::Hangs => None,
                _ if at > self.ms => None,
                Card::Gone => Some(Err(OpenError {
                    fault: Fault::Gone,
                    reason: "no such device".into(),
                })),
                _ => Some(Ok(info(choice, period))),
            };
            let Some(answer) = answer else {
                self.opening.push((id, choice, period, at));
                continue;
            };
            if answer.is_ok() {
                let stream = Stream {
                    choice,
                    period,
                    calls: 0,
                    frames: 0,
                };
                self.streams.insert(id, stream);
            }
            self.keeper.opened(now, id, answer);
        }
    }

    fn move_streams(&mut self) {
        let now = self.now();
        for id in self.streams.keys().copied().collect::<Vec<_>>() {
            let choice = self.streams[&id].choice;
            let card = self.card(choice);
            let stream = self.streams.get_mut(&id).unwrap();
            match card {
                Card::Works | Card::Hangs => {
                    stream.frames += 48 * STEP;
                    stream.calls = stream.frames / (stream.period.as_millis() as u64 * 48);
                }
                Card::Races => {
                    stream.frames += 48 * STEP * 100;
                    stream.calls += 100;
                }
                Card::Storms => self.keeper.fault(now, id, Fault::Other, STEP, None),
                Card::Gone => self.keeper.fault(now, id, Fault::Gone, 1, None),
                Card::Stands => {}
            }
            let stream = &self.streams[&id];
            self.keeper.observe(now, id, stream.calls, stream.frames);
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.keeper.poll_action() {
            match action {
                Action::Open {
                    id,
                    choice,
                    period,
                    after,
                } => {
                    if let Some(after) = after {
                        self.streams.remove(&after);
                    }
                    if choice == Choice::Wanted {
                        self.tries.push(self.ms);
                    }
                    self.opening.push((id, choice, period, self.ms + 5));
                }
                Action::Close(id) => {
                    self.streams.remove(&id);
                }
                Action::Use(id) => self.used = id,
            }
            self.most_open = self.most_open.max(self.streams.len());
        }
    }

    /// The notices since the last call, abbreviated.
    fn told(&mut self) -> Vec<String> {
        let told = self.told.drain(..).map(|(_, notice)| match notice {
            Notice::InUse { device, again, .. } => {
                format!("{}{}", device.name, if again { " again" } else { "" })
            }
            Notice::Lost { device, fault, .. } => {
                format!("lost {}: {fault:?}", device.unwrap_or_default())
            }
            Notice::Trouble { fault, .. } => format!("trouble: {fault:?}"),
            Notice::Period { period, wider } => {
                format!(
                    "{} ms {}",
                    period.as_millis(),
                    if wider { "wider" } else { "narrower" }
                )
            }
        });
        told.collect()
    }

    fn xruns(&mut self, count: u64) {
        let id = self.used.unwrap();
        self.keeper.fault(self.now(), id, Fault::Xrun, count, None);
    }
}

fn info(choice: Choice, period: Duration) -> DeviceInfo {
    let name = match choice {
        Choice::Wanted => "headset",
        Choice::Other => "desk",
    };
    DeviceInfo {
        id: name.into(),
        name: name.into(),
        rate: 48_000,
        channels: 2,
        format: "f32".into(),
        period,
    }
}

#[test]
fn a_device_that_moves_is_used_and_told_once() {
    let mut world = World::new(Card::Works, Card::Works);
    world.run(60_000);
    assert_eq!(world.told(), ["headset"]);
    assert_eq!(world.tries.len(), 1);
    assert_eq!(world.most_open, 1);
    assert!(world.silent <= 20);
}

#[test]
fn an_unplugged_device_is_tried_ever_less_often_and_used_when_it_is_back() {
    let mut world = World::new(Card::Works, Card::Gone);
    world.run(10_000);
    world.told();
    world.wanted = Card::Gone;
    world.run(40_000);
    assert_eq!(
        world.told(),
        ["lost headset: Gone"],
        "once, however often it is tried"
    );
    let waits: Vec<_> = world.tries[1..].windows(2).map(|w| w[1] - w[0]).collect();
    assert!(world.tries[1] - 10_000 <= 270, "{:?}", world.tries);
    assert!(waits.windows(2).all(|w| w[1] >= w[0]), "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= 5030), "{waits:?}");
    world.wanted = Card::Works;
    world.silent = 0;
    world.run(10_000);
    assert_eq!(world.told(), ["headset again"]);
    assert!(world.silent <= 5050, "{}", world.silent);
}

#[test]
fn another_device_stands_in_until_the_wanted_one_moves_again() {
    let mut world = World::new(Card::Works, Card::Works);
    world.run(10_000);
    world.told();
    world.silent = 0;
    world.wanted = Card::Gone;
    world.run(20_000);
    assert_eq!(world.told(), ["lost headset: Gone", "desk again"]);
    assert!(world.keeper.stands_in());
    assert!(world.silent <= 50, "{}", world.silent);
    // Back, but it does not move yet: no reason to leave one that does.
    world.wanted = Card::Stands;
    world.run(20_000);
    assert!(world.told().is_empty());
    assert!(world.keeper.stands_in());
    world.wanted = Card::Works;
    world.run(10_000);
    assert_eq!(world.told(), ["headset again"]);
    assert_eq!(world.streams.len(), 1, "the other is closed");
    assert!(world.silent <= 60, "{}", world.silent);
}

#[test]
fn a_device_that_opens_and_never_moves_is_no_success() {
    let mut world = World::new(Card::Stands, Card::Gone);
    world.run(1500);
    assert_eq!(world.told(), ["lost headset: Stalled"]);
    world.run(60_000);
    assert!(world.told().is_empty());
    assert!(world.tries.len() > 8, "{:?}", world.tries);
    assert_eq!(world.streams.len(), 1, "it may move at any moment");
    world.wanted = Card::Works;
    world.silent = 0;
    world.run(1000);
    assert_eq!(world.told(), ["headset again"]);
    assert!(world.silent <= 50, "{}", world.silent);
}

#[test]
fn a_stall_costs_only_the_time_that_it_lasts() {
    for stall in [300, 700, 1100, 1500, 3000, 10_000] {
        let mut world = World::new(Card::Works, Card::Gone);
        world.run(20_000);
        world.told();
        world.silent = 0;
        world.wanted = Card::Stands;
        world.run(stall);
        world.wanted = Card::Works;
        world.run(20_000);
        assert!(world.silent <= stall + 50, "{stall}: {}", world.silent);
        let told = world.told();
        let expected: &[&str] = match stall {
            ..1000 => &[],
            _ => &["lost headset: Stalled", "headset again"],
        };
        assert_eq!(told, expected, "{stall}");
    }
}

#[test]
fn opening_that_does_not_end_is_told_and_another_device_used_and_a_late_answer_taken() {
    let mut world = World::new(Card::Hangs, Card::Works);
    world.run(3000);
    assert_eq!(world.told(), ["lost : NoAnswer", "desk again"]);
    assert_eq!(world.tries.len(), 1);
    world.wanted = Card::Works;
    world.run(1000);
    assert_eq!(world.told(), ["headset again"]);
    assert_eq!(world.tries.len(), 1);
}

#[test]
fn tries_that_never_end_do_not_pile_up() {
    let mut world = World::new(Card::Hangs, Card::Hangs);
    world.run(600_000);
    assert!(world.opening.len() <= 5, "{}", world.opening.len());
    assert!(world.keeper.failure().is_some());
    world.wanted = Card::Works;
    world.other = Card::Works;
    world.run(10_000);
    assert_eq!(world.keeper.device().unwrap().name, "headset");
    assert_eq!(world.streams.len(), 1, "what came too late is closed");
}

#[test]
fn with_no_device_at_all_the_reason_is_that_of_the_wanted_one() {
    let mut world = World::new(Card::Gone, Card::Gone);
    world.run(STEP);
    assert_eq!(world.keeper.failure(), None, "not yet known");
    world.run(100);
    assert_eq!(world.keeper.failure().unwrap().reason, "no such device");
    let mut world = World::new(Card::Gone, Card::Works);
    world.run(200);
    assert_eq!(world.keeper.failure(), None);
    assert_eq!(world.told(), ["lost : Gone", "desk again"]);
}

#[test]
fn an_error_that_repeats_itself_without_sound_ends_the_stream_and_one_beside_sound_does_not() {
    let mut world = World::new(Card::Works, Card::Gone);
    world.run(10_000);
    world.told();
    world.wanted = Card::Storms;
    world.run(400);
    assert_eq!(world.told(), ["trouble: Other", "lost headset: Other"]);
    world.run(20_000);
    let told = world.told();
    assert!(told.len() <= 5, "{told:?}");
    world.wanted = Card::Works;
    world.run(10_000);
    assert_eq!(world.told().last().unwrap(), "headset again");
    let mut told = 0;
    for _ in 0..2000 {
        let id = world.used.unwrap();
        world
            .keeper
            .fault(world.now(), id, Fault::Other, 3, Some("odd".into()));
        world.run(10);
        told += world
            .told()
            .iter()
            .filter(|told| *told == "trouble: Other")
            .count();
    }
    assert!((4..=5).contains(&told), "{told} in 20 s");
    assert_eq!(world.keeper.device().unwrap().name, "headset");
}

#[test]
fn a_device_without_a_pace_is_left_for_another() {
    let mut world = World::new(Card::Races, Card::Works);
    world.run(30_000);
    let told = world.told();
    assert_eq!(told, ["headset", "lost headset: Unpaced", "desk again"]);
    assert_eq!(world.keeper.device().unwrap().name, "desk");
}

#[test]
fn xruns_widen_the_period_at_once_and_calm_narrows_it_when_nobody_speaks() {
    let mut world = World::new(Card::Works, Card::Works);
    world.run(5000);
    world.told();
    for _ in 0..12 {
        world.xruns(1);
        world.run(1000);
    }
    let told = world.told();
    let periods: Vec<_> = told.iter().filter(|told| told.contains(" ms ")).collect();
    assert_eq!(periods, ["20 ms wider", "40 ms wider"], "{told:?}");
    assert!(
        !told
            .iter()
            .any(|told| told.contains("lost") || told.contains("again")),
        "{told:?}"
    );
    assert_eq!(world.keeper.device().unwrap().period, WIDEST);
    world.run(100_000);
    assert_eq!(
        world.keeper.device().unwrap().period,
        WIDEST,
        "somebody speaks"
    );
    world.quiet = true;
    world.run(100_000);
    world.told();
    world.silent = 0;
    world.run(300_000);
    assert_eq!(world.keeper.device().unwrap().period, NARROWEST);
    assert_eq!(world.most_open, 1);
}

#[test]
fn a_program_that_stood_still_does_not_blame_the_device() {
    let mut world = World::new(Card::Works, Card::Works);
    world.run(5000);
    world.told();
    for stopped in [600, 3000, 60_000] {
        world.ms += stopped;
        world.keeper.poll(world.now(), false);
        world.xruns(1);
        world.run(10_000);
        let told = world.told();
        assert!(told.iter().all(|told| told == "trouble: Xrun"), "{told:?}");
    }
    assert_eq!(world.tries.len(), 1);
}

#[test]
fn audio_resumes_soon_after_random_device_faults_end() {
    const CARDS: [Card; 6] = [
        Card::Works,
        Card::Stands,
        Card::Gone,
        Card::Hangs,
        Card::Storms,
        Card::Races,
    ];
    for seed in 0..200 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut world = World::new(Card::Works, Card::Works);
        for _ in 0..40 {
            world.wanted = CARDS[random.random_range(0..CARDS.len())];
            world.other = CARDS[random.random_range(0..CARDS.len())];
            world.quiet = random.random_bool(0.5);
            world.run(random.random_range(1..400) * STEP);
            if random.random_bool(0.2) && world.used.is_some() {
                let count = random.random_range(1..5);
                world.xruns(count);
            }
        }
        let seconds = world.ms / 1000;
        let told = world.told.len() as u64;
        assert!(
            told <= seconds * 3,
            "seed {seed}: {told} lines in {seconds} s"
        );
        // A stream that raced is ahead of the clock and stays so, and a device that did is not tried for a minute.
        (world.wanted, world.other) = (Card::Gone, Card::Gone);
        world.run(100);
        (world.wanted, world.other) = (Card::Works, Card::Works);
        world.run(62_000);
        assert!(
            world.most_open <= 4,
            "seed {seed}: {} open",
            world.most_open
        );
        let device = world.keeper.device().map(|device| device.name.clone());
        assert_eq!(device.as_deref(), Some("headset"), "seed {seed}");
        assert_eq!(
            world.keeper.health(world.now()),
            Health::Moving,
            "seed {seed}"
        );
        assert_eq!(world.streams.len(), 1, "seed {seed}");
        assert!(world.opening.is_empty(), "seed {seed}");
        world.told.clear();
        world.run(60_000);
        assert!(
            world.told().iter().all(|told| told.contains("narrower")),
            "seed {seed}"
        );
    }
}
