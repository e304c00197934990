//! Which relay a room goes to: the less loaded of two that were drawn at random.
//!
//! Every node places rooms by itself, from load reports that are up to a second old. If each took the least loaded relay of
//! all, the same relay would get every room of that second; with two that are drawn, the rooms spread, and the fullest relay
//! stays close to the mean.

use confab_protocol::control::Region;

use crate::domain::RelayName;
use crate::store::HomePlace;

/// How loaded a relay is, by its last report and by what was sent there since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Media sessions, when it reported.
    pub sessions: u32,
    /// Media sessions that it takes.
    pub max_sessions: u32,
    /// Its busiest worker, in percent of a core, when it reported.
    pub busy_percent: u32,
    /// Datagrams a second, in and out, when it reported.
    pub datagrams_per_s: u64,
    /// Sessions that this node opened there since the report.
    pub opened: u32,
}

/// The relay that a room wants.
#[derive(Clone, Copy, Debug)]
pub struct RelayWish<'a> {
    /// The version of media datagrams that it must speak.
    pub media_version: u32,
    /// The preferred region.
    pub region: Option<&'a Region>,
    /// A run of a relay that wins if it has room, whatever its region.
    pub prefer: Option<&'a HomePlace>,
    /// A relay that is chosen only if there is no other.
    pub avoid: Option<&'a RelayName>,
    /// The number of sessions to open there.
    pub sessions: u64,
    /// No relay rather than one that has no room for all sessions, or that failed to open a session lately.
    pub of_all: bool,
}

/// A relay that a room can go to: linked, and not about to end.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<I, R> {
    pub id: I,
    pub region: R,
    pub load: Load,
    /// True if the relay did not open a session a short while ago.
    pub refuses: bool,
}

/// What a room wants of its relay.
#[derive(Clone, Copy, Debug)]
pub struct Wish<I, R> {
    /// To be there, if some relay there has room. `None`: anywhere.
    pub region: Option<R>,
    /// Not this one, unless there is no other.
    pub avoid: Option<I>,
}

/// The less loaded of two random relays with room for one more session: of the wished region; if none there has room, of
/// any region; one that refuses sessions only if there is no other; the one to avoid only if there is none of these. `None` when
/// all are full.
///
/// `below` draws a number below its argument, which is not zero. The candidates are gone through twice.
pub fn choose<I: Copy + PartialEq, R: PartialEq>(
    candidates: impl Iterator<Item = Candidate<I, R>> + Clone,
    wish: &Wish<I, R>,
    mut below: impl FnMut(usize) -> usize,
) -> Option<I> {
    let with_room = candidates.filter_map(|candidate| {
        let tier = Tier::of(&candidate, wish);
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
    // Of two that are equal, the one that was drawn first: the order in which they are listed means nothing.
    let least = drawn.min_by_key(|(load, is_other, _)| (*load, *is_other))?;
    Some(least.2)
}

/// How much a room would like to be on a relay.
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

    fn of<I: PartialEq, R: PartialEq>(candidate: &Candidate<I, R>, wish: &Wish<I, R>) -> Self {
        if wish.avoid.as_ref() == Some(&candidate.id) {
            return Self::Avoided;
        }
        if candidate.refuses {
            return Self::Refusing;
        }
        match &wish.region {
            Some(region) if candidate.region != *region => Self::Elsewhere,
            _ => Self::InRegion,
        }
    }
}

/// Two different numbers below `count`, or the same one twice when there is no other.
fn two_below(count: usize, below: &mut impl FnMut(usize) -> usize) -> (usize, usize) {
    let one = below(count);
    if count == 1 {
        return (one, one);
    }
    let other = below(count - 1);
    (one, other + usize::from(other >= one))
}

impl Load {
    /// A load of 1, as [`fraction`](Self::fraction) has it.
    pub const FULL: u64 = 1_000_000;

    /// Whether one more session would be taken.
    pub fn has_room(&self) -> bool {
        self.has_room_for(1)
    }

    /// Whether so many more sessions would be taken.
    pub fn has_room_for(&self, sessions: u64) -> bool {
        self.sessions_now().saturating_add(sessions) <= u64::from(self.max_sessions)
    }

    /// How full the relay is, in millionths: of its sessions or of its busiest worker, whichever is the fuller. Sessions that
    /// were opened since the report are taken to cost what those before them cost.
    pub fn fraction(&self) -> u64 {
        let by_sessions = self.sessions_now() * Self::FULL / u64::from(self.max_sessions.max(1));
        let by_time = u64::from(self.busy_percent) * (Self::FULL / 100);
        // What sessions cost a relay that has none is not known.
        let by_time = match self.sessions {
            0 => by_time,
            sessions => by_time.saturating_mul(self.sessions_now()) / u64::from(sessions),
        };
        by_sessions.max(by_time)
    }

    fn sessions_now(&self) -> u64 {
        u64::from(self.sessions) + u64::from(self.opened)
    }

    /// Less is better. Relays that are equally full differ by the packets that they carry.
    fn to_compare(self) -> (u64, u64) {
        (self.fraction(), self.datagrams_per_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// xorshift64*, which is random enough to draw relays.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, count: usize) -> usize {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
            drawn as usize % count
        }
    }

    const ANYWHERE: Wish<usize, u8> = Wish {
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

    /// Relay `i` has region `relays[i].0`.
    fn pick(relays: &[(u8, Load)], wish: Wish<usize, u8>, dice: &mut Dice) -> Option<usize> {
        pick_among(relays, &[], wish, dice)
    }

    /// The same, where some relays refuse sessions.
    fn pick_among(
        relays: &[(u8, Load)],
        refusing: &[usize],
        wish: Wish<usize, u8>,
        dice: &mut Dice,
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
        choose(candidates, &wish, |count| dice.below(count))
    }

    fn picks(relays: &[(u8, Load)], wish: Wish<usize, u8>) -> Vec<usize> {
        let mut dice = Dice(7);
        let mut picked: Vec<_> = (0..200)
            .filter_map(|_| pick(relays, wish, &mut dice))
            .collect();
        picked.sort_unstable();
        picked.dedup();
        picked
    }

    /// Peak over mean of a hundred relays that get ten thousand rooms, `fresh` of them between two reports.
    fn spread(fresh: usize, choices: impl Fn(&[(u8, Load)], &mut Dice) -> usize) -> f64 {
        let mut relays = vec![(0, load(0, 0)); 100];
        let mut dice = Dice(1);
        for room in 1..=10_000 {
            let relay = choices(&relays, &mut dice);
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
        let two = |relays: &[(u8, Load)], dice: &mut Dice| pick(relays, ANYWHERE, dice).unwrap();
        let one = |_: &[(u8, Load)], dice: &mut Dice| dice.below(100);
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
        let wish = Wish {
            region: Some(1),
            ..ANYWHERE
        };
        let relays = [(0, load(0, 0)), (1, load(999, 99)), (1, full())];
        assert_eq!(picks(&relays, wish), [1]);
    }

    #[test]
    fn a_region_without_room_sends_its_rooms_anywhere() {
        let wish = Wish {
            region: Some(1),
            ..ANYWHERE
        };
        let relays = [(0, load(0, 0)), (1, full()), (2, load(0, 0))];
        assert_eq!(picks(&relays, wish), [0, 2]);
        let unknown = Wish {
            region: Some(9),
            ..ANYWHERE
        };
        assert_eq!(picks(&relays, unknown), [0, 2]);
    }

    #[test]
    fn the_relay_to_avoid_is_taken_only_if_there_is_no_other() {
        let wish = Wish {
            region: Some(1),
            avoid: Some(1),
        };
        let mut relays = [(0, load(900, 90)), (1, load(0, 0)), (1, load(999, 0))];
        assert_eq!(picks(&relays, wish), [2]);
        relays[2].1 = full();
        assert_eq!(picks(&relays, wish), [0]);
        relays[0].1 = full();
        assert_eq!(picks(&relays, wish), [1]);
    }

    #[test]
    fn a_relay_that_refuses_is_taken_only_if_there_is_no_other() {
        let wish = Wish {
            region: Some(1),
            ..ANYWHERE
        };
        let mut relays = [(0, load(900, 90)), (1, load(0, 0)), (1, load(999, 0))];
        let picks = |relays: &[(u8, Load)], refusing: &[usize], wish| {
            pick_among(relays, refusing, wish, &mut Dice(7))
        };
        assert_eq!(picks(&relays, &[1], wish), Some(2));
        assert_eq!(picks(&relays, &[1, 2], wish), Some(0));
        assert_eq!(picks(&relays, &[0, 1, 2], wish), Some(1));
        let avoid = Wish {
            avoid: Some(1),
            ..wish
        };
        assert_eq!(picks(&relays, &[0, 2], avoid), Some(0));
        (relays[0].1, relays[2].1) = (full(), full());
        assert_eq!(picks(&relays, &[1], wish), Some(1), "better than none");
    }

    #[test]
    fn a_relay_has_room_for_as_many_as_it_says() {
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
    fn a_relay_is_as_full_as_its_fuller_measure() {
        assert_eq!(load(100, 50).fraction(), Load::FULL / 2);
        assert_eq!(load(600, 50).fraction(), Load::FULL * 6 / 10);
        assert_eq!(Load::default().fraction(), 0);
    }

    #[test]
    fn sessions_since_the_report_count_as_much_as_those_before() {
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
    fn of_two_that_are_equally_full_the_one_with_fewer_packets_is_taken() {
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
