//! Chooses the relay for a room: the less loaded of two relays drawn at random ("power of two choices").
//!
//! Every node places rooms independently, from load reports that are up to one second old. If each node chose the least loaded of
//! all relays, one relay would get every room of that second. With two random candidates the rooms spread, and the fullest relay
//! stays close to the mean.

use confab_protocol::control::Region;

use crate::domain::RelayName;
use crate::store::HomePlace;

/// The load of a relay: its last report, and the sessions that this node has opened there since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Media sessions in the report.
    pub sessions: u32,
    /// Maximum number of media sessions.
    pub max_sessions: u32,
    /// Load of the busiest worker, in percent of a core.
    pub busy_percent: u32,
    /// Datagrams received and sent per second.
    pub datagrams_per_s: u64,
    /// Sessions that this node has opened since the report.
    pub opened: u32,
}

/// Requirements and preferences of a room for its relay.
#[derive(Clone, Copy, Debug)]
pub struct RelayCriteria<'a> {
    /// Required version of media datagrams.
    pub media_version: u32,
    /// The preferred region.
    pub region: Option<&'a Region>,
    /// A boot of a relay that is chosen first if it has capacity, whatever its region.
    pub prefer: Option<&'a HomePlace>,
    /// A relay that is chosen only if no other has capacity.
    pub avoid: Option<&'a RelayName>,
    /// Number of sessions to open.
    pub sessions: u64,
    /// If true, a relay qualifies only if it has capacity for all `sessions` and has not failed to open a session recently.
    pub for_whole_room: bool,
}

/// A relay that is linked and does not drain.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<I, R> {
    pub id: I,
    pub region: R,
    pub load: Load,
    /// True if the relay has recently failed to open a session.
    pub refuses: bool,
}

/// Preferences of a room.
#[derive(Clone, Copy, Debug)]
pub struct Criteria<I, R> {
    /// Preferred region; `None`: any.
    pub region: Option<R>,
    /// A candidate that is chosen only if no other has capacity.
    pub avoid: Option<I>,
}

/// Chooses the less loaded of two random relays with capacity for one more session. Candidates in the preferred region come
/// first, then other regions, then relays that refuse sessions, last the one to avoid. Returns `None` when all are full.
///
/// `below` draws a number below its argument, which is never zero. The candidates are iterated twice.
pub fn choose<I: Copy + PartialEq, R: PartialEq>(
    candidates: impl Iterator<Item = Candidate<I, R>> + Clone,
    criteria: &Criteria<I, R>,
    mut below: impl FnMut(usize) -> usize,
) -> Option<I> {
    let with_room = candidates.filter_map(|candidate| {
        let tier = Tier::of(&candidate, criteria);
        candidate.load.has_room().then_some((tier, candidate))
    });
    let mut counts = [0; Tier::ALL.len()];
    for (tier, _) in with_room.clone() {
        counts[tier as usize] += 1;
    }
    let tier = Tier::ALL
        .into_iter()
        .find(|tier| counts[*tier as usize] > 0)?;
    let count = counts[tier as usize];
    let (one, other) = two_below(count, &mut below);
    let drawn = with_room
        .filter(|(of, _)| *of == tier)
        .enumerate()
        .filter(|(at, _)| *at == one || *at == other)
        .map(|(at, (_, candidate))| (candidate.load.to_compare(), at != one, candidate.id));
    // On equal load the first drawn wins, so that the order of the list has no influence.
    let least = drawn.min_by_key(|(load, is_other, _)| (*load, *is_other))?;
    Some(least.2)
}

/// Order of preference, best first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tier {
    InRegion,
    Elsewhere,
    Refusing,
    Avoided,
}

impl Tier {
    const ALL: [Self; 4] = [
        Self::InRegion,
        Self::Elsewhere,
        Self::Refusing,
        Self::Avoided,
    ];

    fn of<I: PartialEq, R: PartialEq>(
        candidate: &Candidate<I, R>,
        criteria: &Criteria<I, R>,
    ) -> Self {
        if criteria.avoid.as_ref() == Some(&candidate.id) {
            return Self::Avoided;
        }
        if candidate.refuses {
            return Self::Refusing;
        }
        match &criteria.region {
            Some(region) if candidate.region != *region => Self::Elsewhere,
            _ => Self::InRegion,
        }
    }
}

/// Two different random numbers below `count`; the same number twice if `count` is 1.
fn two_below(count: usize, below: &mut impl FnMut(usize) -> usize) -> (usize, usize) {
    let one = below(count);
    if count == 1 {
        return (one, one);
    }
    let other = below(count - 1);
    (one, other + usize::from(other >= one))
}

impl Load {
    /// The value of [`fraction`](Self::fraction) for a full relay.
    pub const FULL: u64 = 1_000_000;

    /// True if there is capacity for one more session.
    pub fn has_room(&self) -> bool {
        self.has_room_for(1)
    }

    /// True if there is capacity for this many more sessions.
    pub fn has_room_for(&self, sessions: u64) -> bool {
        self.sessions_now().saturating_add(sessions) <= u64::from(self.max_sessions)
    }

    /// Utilization in millionths: the larger of sessions and processor time. Sessions opened since the report are assumed to cost
    /// as much as the average of the others.
    pub fn fraction(&self) -> u64 {
        let by_sessions = self.sessions_now() * Self::FULL / u64::from(self.max_sessions.max(1));
        let by_time = u64::from(self.busy_percent) * (Self::FULL / 100);
        // Without sessions in the report there is no cost per session to extrapolate.
        let by_time = match self.sessions {
            0 => by_time,
            sessions => by_time.saturating_mul(self.sessions_now()) / u64::from(sessions),
        };
        by_sessions.max(by_time)
    }

    fn sessions_now(&self) -> u64 {
        u64::from(self.sessions) + u64::from(self.opened)
    }

    /// Sort key, least first. Datagrams per second decide between relays of equal utilization.
    fn to_compare(self) -> (u64, u64) {
        (self.fraction(), self.datagrams_per_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A xorshift64* generator.
    struct Rng(u64);

    impl Rng {
        fn below(&mut self, count: usize) -> usize {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
            drawn as usize % count
        }
    }

    const ANYWHERE: Criteria<usize, u8> = Criteria {
        region: None,
        avoid: None,
    };

    fn load(sessions: u32, busy_percent: u32) -> Load {
        Load {
            sessions,
            max_sessions: 1000,
            busy_percent,
            ..Load::default()
        }
    }

    fn full() -> Load {
        load(1000, 0)
    }

    /// Chooses among `relays`, each a region and a load. The result is an index.
    fn pick(relays: &[(u8, Load)], criteria: Criteria<usize, u8>, rng: &mut Rng) -> Option<usize> {
        pick_among(relays, &[], criteria, rng)
    }

    /// As [`pick`], where the relays with index in `refusing` refuse sessions.
    fn pick_among(
        relays: &[(u8, Load)],
        refusing: &[usize],
        criteria: Criteria<usize, u8>,
        rng: &mut Rng,
    ) -> Option<usize> {
        let candidates = relays
            .iter()
            .enumerate()
            .map(|(id, &(region, load))| Candidate {
                id,
                region,
                load,
                refuses: refusing.contains(&id),
            });
        choose(candidates, &criteria, |count| rng.below(count))
    }

    fn picks(relays: &[(u8, Load)], criteria: Criteria<usize, u8>) -> Vec<usize> {
        let mut rng = Rng(7);
        let mut picked: Vec<_> = (0..200)
            .filter_map(|_| pick(relays, criteria, &mut rng))
            .collect();
        picked.sort_unstable();
        picked.dedup();
        picked
    }

    /// Peak load divided by mean load of a hundred relays that get ten thousand rooms, `fresh` of them between two reports.
    fn spread(fresh: usize, choices: impl Fn(&[(u8, Load)], &mut Rng) -> usize) -> f64 {
        let mut relays = vec![(0, load(0, 0)); 100];
        let mut rng = Rng(1);
        for room in 1..=10_000 {
            let relay = choices(&relays, &mut rng);
            relays[relay].1.opened += 1;
            if room % fresh == 0 {
                for (_, load) in &mut relays {
                    load.sessions += std::mem::take(&mut load.opened);
                }
            }
        }
        let now = relays.iter().map(|(_, load)| load.sessions_now());
        now.max().unwrap_or(0) as f64 / 100.0
    }

    #[test]
    fn two_choices_spread_rooms_better_than_one() {
        let two = |relays: &[(u8, Load)], rng: &mut Rng| pick(relays, ANYWHERE, rng).unwrap();
        let one = |_: &[(u8, Load)], rng: &mut Rng| rng.below(100);
        assert!(spread(1, two) <= 1.05, "{}", spread(1, two));
        assert!(spread(500, two) <= 1.05, "{}", spread(500, two));
        assert!(spread(1, one) > 1.15, "{}", spread(1, one));
    }

    #[test]
    fn every_relay_is_drawn() {
        let relays = vec![(0, load(10, 10)); 5];
        assert_eq!(picks(&relays, ANYWHERE), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_most_loaded_relay_of_several_gets_nothing() {
        let relays = [(0, load(10, 10)), (0, load(500, 50)), (0, load(10, 10))];
        assert_eq!(picks(&relays, ANYWHERE), [0, 2]);
    }

    #[test]
    fn a_room_stays_in_its_region_while_a_relay_there_has_room() {
        let criteria = Criteria {
            region: Some(1),
            ..ANYWHERE
        };
        let relays = [(0, load(0, 0)), (1, load(999, 99)), (1, full())];
        assert_eq!(picks(&relays, criteria), [1]);
    }

    #[test]
    fn a_room_goes_to_another_region_when_its_own_is_full() {
        let criteria = Criteria {
            region: Some(1),
            ..ANYWHERE
        };
        let relays = [(0, load(0, 0)), (1, full()), (2, load(0, 0))];
        assert_eq!(picks(&relays, criteria), [0, 2]);
        let unknown = Criteria {
            region: Some(9),
            ..ANYWHERE
        };
        assert_eq!(picks(&relays, unknown), [0, 2]);
    }

    #[test]
    fn the_relay_to_avoid_is_taken_only_if_there_is_no_other() {
        let criteria = Criteria {
            region: Some(1),
            avoid: Some(1),
        };
        let mut relays = [(0, load(900, 90)), (1, load(0, 0)), (1, load(999, 0))];
        assert_eq!(picks(&relays, criteria), [2]);
        relays[2].1 = full();
        assert_eq!(picks(&relays, criteria), [0]);
        relays[0].1 = full();
        assert_eq!(picks(&relays, criteria), [1]);
    }

    #[test]
    fn a_relay_that_refuses_is_taken_only_if_there_is_no_other() {
        let criteria = Criteria {
            region: Some(1),
            ..ANYWHERE
        };
        let mut relays = [(0, load(900, 90)), (1, load(0, 0)), (1, load(999, 0))];
        let picks = |relays: &[(u8, Load)], refusing: &[usize], criteria| {
            pick_among(relays, refusing, criteria, &mut Rng(7))
        };
        assert_eq!(picks(&relays, &[1], criteria), Some(2));
        assert_eq!(picks(&relays, &[1, 2], criteria), Some(0));
        assert_eq!(picks(&relays, &[0, 1, 2], criteria), Some(1));
        let avoid = Criteria {
            avoid: Some(1),
            ..criteria
        };
        assert_eq!(picks(&relays, &[0, 2], avoid), Some(0));
        (relays[0].1, relays[2].1) = (full(), full());
        assert_eq!(picks(&relays, &[1], criteria), Some(1), "better than none");
    }

    #[test]
    fn a_relay_has_capacity_up_to_its_maximum() {
        assert!(load(990, 0).has_room_for(10));
        assert!(!load(990, 0).has_room_for(11));
    }

    #[test]
    fn full_relays_take_nothing() {
        let just_opened = Load {
            opened: 1,
            ..load(999, 0)
        };
        assert!(picks(&[(0, full()), (0, just_opened)], ANYWHERE).is_empty());
        assert!(picks(&[(0, Load::default())], ANYWHERE).is_empty());
        assert!(picks(&[], ANYWHERE).is_empty());
    }

    #[test]
    fn utilization_is_the_larger_of_sessions_and_processor_time() {
        assert_eq!(load(100, 50).fraction(), Load::FULL / 2);
        assert_eq!(load(600, 50).fraction(), Load::FULL * 6 / 10);
        assert_eq!(Load::default().fraction(), 0);
    }

    #[test]
    fn sessions_since_the_report_cost_as_much_as_the_average_before() {
        let dear = Load {
            opened: 10,
            ..load(100, 50)
        };
        assert_eq!(dear.fraction(), Load::FULL * 55 / 100);
        let first = Load {
            opened: 10,
            ..load(0, 1)
        };
        assert_eq!(first.fraction(), Load::FULL / 100);
    }

    #[test]
    fn equal_utilization_is_decided_by_datagrams_per_second() {
        let quiet = Load {
            datagrams_per_s: 10,
            ..load(10, 1)
        };
        let loud = Load {
            datagrams_per_s: 20,
            ..load(10, 1)
        };
        assert_eq!(picks(&[(0, quiet), (0, loud)], ANYWHERE), [0]);
    }
}
