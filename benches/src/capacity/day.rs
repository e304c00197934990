//! A day: people come, rooms grow by one at a time and stay where they are; at its busiest moment relays are lost, and their
//! rooms go elsewhere.

use std::collections::VecDeque;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::Assumptions;
use super::regions::{DAY_HOURS, REGIONS, World};
use super::relays::{RelayId, Relays, RoomPlace};
use super::rooms::{Sizes, exponential, poisson};
use super::snapshot::{Peak, Snapshot};

/// Seconds of a day.
const DAY_S: usize = 24 * 60 * 60;
/// The day begins so long before its busiest hour, with nobody there: the world is full by then.
const BEFORE_BUSIEST_HOURS: f64 = 14.0;
/// Loads are looked at so often, in seconds.
const LOOK_S: usize = 60;
/// Parts of a second after each of which a tenth of the relays reports.
const TENTHS: usize = 10;
/// After the last room is placed, until the load is looked at again: every relay has reported, in seconds.
const SETTLED_S: usize = 3;

/// The result of a day.
#[derive(Debug, Clone)]
pub struct Day {
    /// People of a gathering, in the mean.
    pub mean_gathering: f64,
    /// Half of all people are in gatherings of so many at least.
    pub median_company: u32,
    /// Hours that a person stays in a room, in the mean.
    pub stay_hours: f64,
    /// People who talk, over the day, in the mean.
    pub mean_people: f64,
    /// Rates at the busiest moment, per second.
    pub busiest: Rates,
    /// Totals of the day.
    pub total: Rates,
    /// Before relays were lost, when most people talk.
    pub before: Snapshot,
    /// When their rooms are elsewhere.
    pub after: Snapshot,
    /// The loss.
    pub loss: Loss,
    /// Of the regions, each at its own busiest: cores that its relays use, datagrams a second, people.
    pub peaks: Vec<Peak>,
    /// Rooms that found no relay.
    pub refused: u64,
}

/// How often things happened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// A participant joined a room.
    pub joins: f64,
    /// The first one came into a room.
    pub openings: f64,
    /// Joins and leaves that clients are told of.
    pub events: f64,
}

/// Relays that were lost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Loss {
    /// How many.
    pub relays: usize,
    /// Rooms that went elsewhere.
    pub rooms: u64,
    /// People in them.
    pub people: u64,
    /// From the loss until the last one was placed, in seconds.
    pub seconds: f64,
}

/// A participant joins or leaves: the room's number, and in its lowest bit which of the two.
#[derive(Clone, Copy)]
struct Event(u32);

#[derive(Clone, Copy)]
struct Room {
    region: u8,
    node: u16,
    people: u32,
    /// People who are still to come.
    to_come: u32,
    at: At,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// The room is empty.
    Nowhere,
    Placed(RoomPlace),
    /// Its relay is dead, and it is not this one's turn yet.
    Moving(RelayId),
}

struct Life<'a> {
    assumed: &'a Assumptions,
    world: World,
    sizes: Sizes,
    relays: Relays,
    rooms: Vec<Room>,
    free: Vec<u32>,
    wheel: Vec<Vec<Event>>,
    random: Xoshiro256PlusPlus,
    now: usize,
    stay_s: f64,
    rates: Rates,
    people: u64,
    live_rooms: u64,
    refused: u64,
    /// Rooms that each node has to move.
    moving: Vec<VecDeque<u32>>,
}

/// Lives through it.
pub fn live(assumed: &Assumptions) -> Day {
    let world = World::new(assumed.people);
    let joins = assumed.daily as f64 * assumed.joins_per_day;
    let stay_hours = world.mean_people * DAY_HOURS / joins;
    let sizes = Sizes::new(assumed.room_exponent, assumed.largest);
    let mut life = Life {
        relays: Relays::new(assumed, &world),
        world,
        rooms: Vec::new(),
        free: Vec::new(),
        wheel: (0..=DAY_S).map(|_| Vec::new()).collect(),
        random: Xoshiro256PlusPlus::seed_from_u64(assumed.seed),
        now: 0,
        stay_s: stay_hours * 3600.0,
        rates: Rates::default(),
        people: 0,
        live_rooms: 0,
        refused: 0,
        moving: vec![VecDeque::new(); usize::from(assumed.nodes)],
        assumed,
        sizes,
    };
    let mut day = Day {
        mean_gathering: life.sizes.mean(),
        median_company: life.sizes.median_company(),
        stay_hours,
        mean_people: life.world.mean_people,
        busiest: Rates::default(),
        total: Rates::default(),
        before: Snapshot::default(),
        after: Snapshot::default(),
        loss: Loss::default(),
        peaks: vec![Peak::default(); REGIONS.len()],
        refused: 0,
    };
    let busiest_s = (BEFORE_BUSIEST_HOURS * 3600.0) as usize;
    let mut looked = 0;
    while life.now < DAY_S {
        if life.now == busiest_s {
            day.before = life.snapshot();
            day.loss = life.lose();
            day.after = life.snapshot();
        } else {
            life.second(|_| ());
        }
        let since = life.now - looked;
        if since >= LOOK_S {
            looked = life.now;
            let rates = std::mem::take(&mut life.rates);
            day.total.add(rates, 1.0);
            let per_s = rates.scaled(1.0 / since as f64);
            if per_s.joins > day.busiest.joins {
                day.busiest = per_s;
            }
            Peak::note(&mut day.peaks, &life.relays);
        }
    }
    day.refused = life.refused;
    day
}

impl Life<'_> {
    /// A second of it; `each_tenth` is asked for more to do before each of its parts.
    fn second(&mut self, mut each_tenth: impl FnMut(&mut Self)) {
        self.begin_gatherings();
        let due = std::mem::take(&mut self.wheel[self.now]);
        for tenth in 0..TENTHS {
            each_tenth(self);
            let part = due.len() * tenth / TENTHS..due.len() * (tenth + 1) / TENTHS;
            for event in &due[part] {
                match event.is_join() {
                    true => self.join(event.room()),
                    false => self.leave(event.room()),
                }
            }
            self.relays.report(tenth);
        }
        self.now += 1;
    }

    fn begin_gatherings(&mut self) {
        let hour = self.world.busiest_hour - BEFORE_BUSIEST_HOURS + self.now as f64 / 3600.0;
        for region in 0..REGIONS.len() {
            let people = self
                .world
                .arrivals_per_s(region, hour, self.stay_s / 3600.0);
            let count = poisson(&mut self.random, people / self.sizes.mean());
            for _ in 0..count {
                let mut people = self.sizes.draw(&mut self.random);
                while people > 0 {
                    let of_room = people.min(self.assumed.max_participants);
                    self.begin_room(region as u8, of_room);
                    people -= of_room;
                }
            }
        }
    }

    fn begin_room(&mut self, region: u8, people: u32) {
        let room = Room {
            region,
            node: 0,
            people: 0,
            to_come: people,
            at: At::Nowhere,
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.rooms[number as usize] = room;
                number
            }
            None => {
                self.rooms.push(room);
                self.rooms.len() as u32 - 1
            }
        };
        self.schedule(0, Event::join(number));
        for _ in 1..people {
            let after = exponential(&mut self.random, self.assumed.gather_minutes * 60.0);
            self.schedule(after, Event::join(number));
        }
    }

    /// Drops events after the day's end.
    fn schedule(&mut self, after_s: u32, event: Event) {
        if let Some(second) = self.wheel.get_mut(self.now + after_s as usize) {
            second.push(event);
        }
    }

    fn join(&mut self, number: u32) {
        let mut room = self.rooms[number as usize];
        room.to_come -= 1;
        match room.at {
            At::Placed(place) => self.relays.join(room.node, place, room.people),
            At::Moving(_) => {}
            At::Nowhere => {
                // Whichever node the first one is connected to has the room.
                room.node = self.random.random_range(0..self.assumed.nodes);
                let by = (room.node, room.region);
                let Some(place) = self.relays.place(by, 1, None, &mut self.random) else {
                    self.refused += 1;
                    self.keep(number, room);
                    return;
                };
                room.at = At::Placed(place);
                self.rates.openings += 1.0;
                self.live_rooms += 1;
            }
        }
        self.rates.joins += 1.0;
        self.rates.events += f64::from(room.people);
        room.people += 1;
        self.people += 1;
        self.keep(number, room);
        let stays = exponential(&mut self.random, self.stay_s).max(1);
        self.schedule(stays, Event::leave(number));
    }

    fn leave(&mut self, number: u32) {
        let mut room = self.rooms[number as usize];
        room.people -= 1;
        self.people -= 1;
        self.rates.events += f64::from(room.people);
        if let At::Placed(place) = room.at {
            self.relays.resize(place, room.people + 1, room.people);
        }
        if room.people == 0 {
            room.at = At::Nowhere;
            self.live_rooms -= 1;
        }
        self.keep(number, room);
    }

    fn keep(&mut self, number: u32, room: Room) {
        self.rooms[number as usize] = room;
        if room.people == 0 && room.to_come == 0 {
            self.free.push(number);
        }
    }

    /// Relays are lost; it is over when every room of theirs is elsewhere and all have reported since.
    fn lose(&mut self) -> Loss {
        let relays = self.relays.lose(self.assumed.lost, &mut self.random);
        let began = self.now;
        while self.now < began + self.assumed.silence_s.ceil() as usize {
            self.second(|_| ());
        }
        self.relays.unlink_lost();
        for (number, room) in self.rooms.iter_mut().enumerate() {
            if let At::Placed(place) = room.at
                && self.relays.is_lost(place.relay)
            {
                room.at = At::Moving(place.relay);
                self.moving[usize::from(room.node)].push_back(number as u32);
            }
        }
        let mut loss = Loss {
            relays,
            rooms: self.moving.iter().map(|of_node| of_node.len() as u64).sum(),
            ..Loss::default()
        };
        let per_tenth = self.assumed.moves_per_s_node() / TENTHS as f64;
        let mut credit = vec![0.0; self.moving.len()];
        let mut tenths = 0;
        while self.moving.iter().any(|of_node| !of_node.is_empty()) && self.now < DAY_S {
            self.second(|life| {
                for (node, credit) in credit.iter_mut().enumerate() {
                    *credit = (*credit + per_tenth).min(per_tenth);
                    while *credit > 0.0
                        && let Some(number) = life.moving[node].pop_front()
                    {
                        let people = life.move_room(number);
                        loss.people += u64::from(people);
                        *credit -= f64::from(people);
                    }
                }
                let is_more = life.moving.iter().any(|of_node| !of_node.is_empty());
                tenths += u32::from(is_more);
            });
        }
        loss.seconds = self.assumed.silence_s + f64::from(tenths + 1) / TENTHS as f64;
        for _ in 0..SETTLED_S {
            self.second(|_| ());
        }
        loss
    }

    /// How many people went with it.
    fn move_room(&mut self, number: u32) -> u32 {
        let room = self.rooms[number as usize];
        // It may have ended meanwhile.
        let At::Moving(from) = room.at else {
            return 0;
        };
        let by = (room.node, room.region);
        match self
            .relays
            .place(by, room.people, Some(from), &mut self.random)
        {
            Some(place) => self.rooms[number as usize].at = At::Placed(place),
            None => self.refused += 1,
        }
        room.people
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.relays, self.people, self.live_rooms)
    }
}

impl Rates {
    fn add(&mut self, other: Self, times: f64) {
        self.joins += other.joins * times;
        self.openings += other.openings * times;
        self.events += other.events * times;
    }

    fn scaled(self, by: f64) -> Self {
        let mut scaled = Self::default();
        scaled.add(self, by);
        scaled
    }
}

impl Event {
    fn join(room: u32) -> Self {
        Self(room << 1)
    }

    fn leave(room: u32) -> Self {
        Self(room << 1 | 1)
    }

    fn room(self) -> u32 {
        self.0 >> 1
    }

    fn is_join(self) -> bool {
        self.0 & 1 == 0
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        assumed: Assumptions,
    }

    /// A hundredth of the world.
    fn small(more: &[&str]) -> Assumptions {
        let all = ["", "--people", "40000", "--daily", "140000", "--nodes", "4"];
        let fleet = ["--relays", "100", "--lost", "0.05"];
        Flags::parse_from(all.iter().chain(&fleet).chain(more)).assumed
    }

    #[test]
    fn a_day_has_its_people_at_its_busiest_and_is_the_same_twice() {
        let day = live(&small(&[]));
        let people = day.before.people as f64;
        assert!((36_000.0..=42_000.0).contains(&people), "{people}");
        assert!(day.busiest.joins > day.busiest.openings);
        assert_eq!(day.refused, 0);
        let again = live(&small(&[]));
        assert_eq!(again.before.people, day.before.people);
        assert_eq!(again.loss.people, day.loss.people);
    }

    #[test]
    fn no_room_stays_on_a_lost_relay() {
        let day = live(&small(&[]));
        assert_eq!(day.loss.relays, 5);
        assert!(day.loss.people > 0 && day.loss.rooms > 0);
        let relays: u32 = day.after.regions.iter().map(|load| load.relays).sum();
        assert_eq!(relays, 95);
        let sessions =
            |load: &super::super::snapshot::RegionLoad| load.sessions.0 * f64::from(load.relays);
        let sessions: f64 = day.after.regions.iter().map(sessions).sum();
        assert_eq!(sessions.round() as u64, day.after.people);
    }

    #[test]
    fn rooms_that_find_no_relay_are_counted() {
        let day = live(&small(&["--max-sessions", "100"]));
        assert!(day.refused > 0);
    }
}
