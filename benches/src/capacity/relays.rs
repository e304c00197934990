//! The relays with their workers, what they report, what each control node knows of them, and where a room goes.

use std::ops::Range;

use confab_control::cluster::placement::{self, Candidate, Criteria, Load};
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

use super::Assumptions;
use super::regions::World;
use super::rooms::Costs;

pub type RelayId = u16;

/// The relays, and the control nodes' view of them.
pub struct Relays {
    relays: Vec<Relay>,
    /// Sessions that each node opened at each relay, by node and then by relay.
    opened: Vec<Opened>,
    /// The relays of each region.
    regions: Vec<Range<usize>>,
    costs: Costs,
    room_share: u32,
    max_sessions: u32,
}

struct Relay {
    region: u8,
    /// False once control has taken it for dead.
    is_linked: bool,
    is_lost: bool,
    workers: Vec<Worker>,
    sessions: u32,
    datagrams_per_s: u64,
    reported: Load,
    reports: u32,
}

#[derive(Clone, Copy, Default)]
struct Worker {
    sessions: u32,
    ns_per_s: u64,
}

/// Sessions that a node opened at a relay, since which of its reports.
#[derive(Clone, Copy, Default)]
struct Opened {
    since: u32,
    sessions: u32,
}

/// Where a room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomPlace {
    pub relay: RelayId,
    /// The worker that has the room, the first of them if it is large.
    pub worker: u8,
}

/// How loaded a relay is.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    pub region: u8,
    pub sessions: u32,
    /// Datagrams out, a second.
    pub datagrams_per_s: u64,
    /// Its busiest worker, in cores.
    pub busiest: f64,
    /// The use of its workers together, in cores.
    pub cores: f64,
    /// Its workers in the mean, in cores.
    pub mean: f64,
}

impl Relays {
    /// The relays, without a room.
    pub fn new(assumed: &Assumptions, world: &World) -> Self {
        let shares = world.share_out(assumed.relays);
        let of_region =
            |(region, count): (usize, &u16)| std::iter::repeat_n(region as u8, usize::from(*count));
        let regions = shares.iter().enumerate().flat_map(of_region);
        let relay = |region| Relay {
            region,
            is_linked: true,
            is_lost: false,
            workers: vec![Worker::default(); usize::from(assumed.workers)],
            sessions: 0,
            datagrams_per_s: 0,
            reported: Load {
                max_sessions: assumed.max_sessions,
                ..Load::default()
            },
            reports: 0,
        };
        let count = usize::from(assumed.nodes) * usize::from(assumed.relays);
        let ranges = shares.iter().scan(0, |begin, count| {
            let range = *begin..*begin + usize::from(*count);
            *begin = range.end;
            Some(range)
        });
        Self {
            regions: ranges.collect(),
            relays: regions.map(relay).collect(),
            opened: vec![Opened::default(); count],
            costs: Costs::new(assumed),
            room_share: assumed.room_share,
            max_sessions: assumed.max_sessions,
        }
    }

    /// Has a control node place a room of so many people, by the rule that control nodes have; `None` when all are full.
    pub fn place(
        &mut self,
        (node, region): (u16, u8),
        people: u32,
        avoid: Option<RelayId>,
        random: &mut Xoshiro256PlusPlus,
    ) -> Option<RoomPlace> {
        let wish = Criteria {
            region: Some(region),
            avoid,
        };
        let mut choose = |among: Range<usize>| {
            let known = &self.known_to(node)[among.clone()];
            let candidates = self.relays[among.clone()].iter().zip(known).zip(among);
            let linked = candidates.filter(|((relay, _), _)| relay.is_linked);
            let as_candidates = linked.map(|((relay, opened), id)| Candidate {
                id: id as RelayId,
                region: relay.region,
                refuses: false,
                load: Load {
                    opened: opened.at(relay),
                    ..relay.reported
                },
            });
            placement::choose(as_candidates, &wish, |count| random.random_range(0..count))
        };
        // The rule takes one of another region, or the one to avoid, only if none of these has room: the outcome is the same
        // as with all of them at once, in a tenth of the time.
        let in_region = self.regions[usize::from(region)].clone();
        let relay = choose(in_region)
            .filter(|relay| Some(*relay) != avoid)
            .or_else(|| choose(0..self.relays.len()))?;
        let workers = self.relays[usize::from(relay)].workers.iter().enumerate();
        // As a relay chooses the home of a room: the worker with the fewest sessions.
        let (worker, _) = workers.min_by_key(|(_, worker)| worker.sessions)?;
        let place = RoomPlace {
            relay,
            worker: worker as u8,
        };
        self.resize(place, 0, people);
        self.note_opened(node, relay, people);
        Some(place)
    }

    /// A node has one more of a room's people talk.
    pub fn join(&mut self, node: u16, place: RoomPlace, before: u32) {
        self.resize(place, before, before + 1);
        self.note_opened(node, place.relay, 1);
    }

    /// A room has another size.
    pub fn resize(&mut self, place: RoomPlace, before: u32, after: u32) {
        let relay = &mut self.relays[usize::from(place.relay)];
        relay.sessions = relay.sessions + after - before;
        let (was, is) = (self.costs.of(before), self.costs.of(after));
        relay.datagrams_per_s = relay.datagrams_per_s + is.datagrams_out - was.datagrams_out;
        for (people, ns_per_s, more) in [(before, was.ns_per_s, false), (after, is.ns_per_s, true)]
        {
            relay.share(place.worker, (people, ns_per_s), self.room_share, more);
        }
    }

    /// Relays whose turn it is in this tenth of a second report their load.
    pub fn report(&mut self, tenth: usize) {
        for relay in self.relays.iter_mut().skip(tenth).step_by(10) {
            let busiest = relay.workers.iter().map(|worker| worker.ns_per_s).max();
            // As a relay does: whole percent, 100 at most.
            let busy_percent = (busiest.unwrap_or_default() / 10_000_000).min(100) as u32;
            relay.reports += 1;
            relay.reported = Load {
                sessions: relay.sessions,
                max_sessions: self.max_sessions,
                busy_percent,
                datagrams_per_s: relay.datagrams_per_s,
                opened: 0,
            };
        }
    }

    /// A share of all relays is lost, drawn at random. Nobody knows yet.
    pub fn lose(&mut self, share: f64, random: &mut Xoshiro256PlusPlus) -> usize {
        let count = (self.relays.len() as f64 * share).round() as usize;
        let mut lost = 0;
        while lost < count {
            let drawn = random.random_range(0..self.relays.len());
            let relay = &mut self.relays[drawn];
            lost += usize::from(!std::mem::replace(&mut relay.is_lost, true));
        }
        count
    }

    /// Control takes the lost ones for dead; what they had is gone.
    pub fn unlink_lost(&mut self) {
        for relay in self.relays.iter_mut().filter(|relay| relay.is_lost) {
            relay.is_linked = false;
            relay.workers.fill(Worker::default());
            (relay.sessions, relay.datagrams_per_s) = (0, 0);
        }
    }

    /// True when a relay was lost.
    pub fn is_lost(&self, relay: RelayId) -> bool {
        self.relays[usize::from(relay)].is_lost
    }

    /// How loaded those are that are there.
    pub fn loads(&self) -> impl Iterator<Item = Loaded> {
        let there = self.relays.iter().filter(|relay| relay.is_linked);
        there.map(|relay| {
            let cores = relay
                .workers
                .iter()
                .map(|worker| worker.ns_per_s as f64 / 1e9);
            let sum: f64 = cores.clone().sum();
            Loaded {
                region: relay.region,
                sessions: relay.sessions,
                datagrams_per_s: relay.datagrams_per_s,
                busiest: cores.fold(0.0, f64::max),
                cores: sum,
                mean: sum / relay.workers.len() as f64,
            }
        })
    }

    fn known_to(&self, node: u16) -> &[Opened] {
        let count = self.relays.len();
        &self.opened[usize::from(node) * count..][..count]
    }

    fn note_opened(&mut self, node: u16, relay: RelayId, sessions: u32) {
        let at = usize::from(node) * self.relays.len() + usize::from(relay);
        let relay = &self.relays[usize::from(relay)];
        self.opened[at] = Opened {
            since: relay.reports,
            sessions: self.opened[at].at(relay) + sessions,
        };
    }
}

impl Relay {
    /// Adds a room to its workers, or takes it away: to one, or, in equal parts, to as many as it takes by `room_share`.
    fn share(&mut self, first: u8, (people, ns_per_s): (u32, u64), room_share: u32, more: bool) {
        let workers = self.workers.len();
        let parts = (people.div_ceil(room_share) as usize).clamp(1, workers);
        for part in 0..parts {
            let worker = &mut self.workers[(usize::from(first) + part) % workers];
            // What does not divide is the first one's.
            let of = |whole: u64| {
                whole / parts as u64 + if part == 0 { whole % parts as u64 } else { 0 }
            };
            let (sessions, ns) = (of(u64::from(people)) as u32, of(ns_per_s));
            if more {
                (worker.sessions, worker.ns_per_s) =
                    (worker.sessions + sessions, worker.ns_per_s + ns);
            } else {
                (worker.sessions, worker.ns_per_s) =
                    (worker.sessions - sessions, worker.ns_per_s - ns);
            }
        }
    }
}

impl Opened {
    fn at(self, relay: &Relay) -> u32 {
        if self.since == relay.reports {
            self.sessions
        } else {
            0
        }
    }
}
