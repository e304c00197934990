//! Who is alive. No I/O: what the store lists and a monotonic clock in, judgements out.
//!
//! A node counts its heartbeats in the store. Another takes it for dead when the counter stood still for [`DEAD_AFTER`] of
//! its own monotonic clock *while the store answered*: a store that is down kills nobody. The node itself knows that nobody
//! can have done so while its last heartbeat is younger than [`SURE_FOR`]: what it wrote then was seen to change no sooner.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::cluster::status::NodeLife;
use crate::domain::NodeName;
use crate::store::{NodeRecord, NodeRun};

/// Time between two heartbeats, and between two looks at those of the others.
pub const BEAT_INTERVAL: Duration = Duration::from_millis(500);
/// A counter that stood still for so long, while the store answered, is of a dead node.
pub const DEAD_AFTER: Duration = Duration::from_millis(3500);
/// A counter that stood still for so long is of a node that may be dead: it is asked for nothing that can wait.
pub const DOUBTED_AFTER: Duration = Duration::from_secs(2);
/// For so long after a heartbeat began its node is alive to everybody; less than [`DEAD_AFTER`] by what clocks may differ.
pub const SURE_FOR: Duration = Duration::from_millis(2500);
/// Between two looks that are further apart the store did not answer, and everybody has to be given time anew.
const MAX_STEP: Duration = Duration::from_secs(2);

/// A run that nobody lists is remembered for so long after one heard of it.
const FORGET_STRANGERS: Duration = Duration::from_secs(60);

/// Whether a run of a node lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Life {
    /// It does, and is reached so.
    Alive(NodeRecord),
    /// It was silent for a while.
    Doubted,
    /// It does not, or has been started again since.
    Dead,
}

/// What this node knows of all.
pub struct Members {
    me: NodeRun,
    seen: HashMap<NodeName, Seen>,
    /// When the store was last looked at; `None` before the first time.
    looked: Option<Instant>,
    /// True when there can be no other.
    alone: bool,
    /// When the last heartbeat that was stored began.
    beaten: Option<Instant>,
    /// Counts the times at which others could have taken this node for dead.
    breaks: u64,
    /// Counts the runs of others that came to an end.
    departures: u64,
    /// Runs that were asked for and not listed, and since when: they may have started after the store was looked at.
    strangers: HashMap<NodeRun, Instant>,
}

struct Seen {
    record: NodeRecord,
    still: Duration,
}

impl Members {
    /// Nothing is known yet.
    pub fn new(me: NodeRun) -> Self {
        Self {
            me,
            seen: HashMap::new(),
            looked: None,
            alone: false,
            beaten: None,
            breaks: 0,
            departures: 0,
            strangers: HashMap::new(),
        }
    }

    /// There is nobody else, and never will be.
    pub fn alone(me: NodeRun) -> Self {
        Self {
            alone: true,
            ..Self::new(me)
        }
    }

    /// A heartbeat that began at `began` was stored.
    pub fn beaten(&mut self, began: Instant) {
        let is_unbroken = self
            .beaten
            .is_some_and(|before| began.saturating_duration_since(before) < SURE_FOR);
        if !is_unbroken {
            self.breaks += 1;
        }
        self.beaten = Some(began);
    }

    /// The store, asked at `now` or later, lists these.
    pub fn look(&mut self, now: Instant, listed: Vec<NodeRecord>) {
        let step = self
            .looked
            .map(|before| now.saturating_duration_since(before))
            .filter(|step| *step <= MAX_STEP);
        self.looked = Some(now);
        self.strangers
            .retain(|_, since| now.saturating_duration_since(*since) < FORGET_STRANGERS);
        if listed.iter().any(|record| self.is_impostor(record)) {
            // Each of the two is dead to whoever sees the other's heartbeat.
            self.beaten = None;
        }
        let mut before = std::mem::take(&mut self.seen);
        for record in listed {
            let known = before.remove(&record.run.name);
            let is_restarted = |seen: &Seen| seen.record.run != record.run;
            let was_alive = known.as_ref().is_some_and(|seen| seen.still < DEAD_AFTER);
            self.departures += u64::from(known.as_ref().is_some_and(is_restarted));
            let same = known.filter(|seen| {
                seen.record.run == record.run && seen.record.counter == record.counter
            });
            let still = same.zip(step);
            let still = still.map_or(Duration::ZERO, |(seen, step)| seen.still + step);
            self.departures += u64::from(was_alive && still >= DEAD_AFTER);
            self.seen
                .insert(record.run.name.clone(), Seen { record, still });
        }
        self.departures += before.len() as u64;
    }

    /// How many runs of others have died, have been started again or are not listed any more.
    pub fn departures(&self) -> u64 {
        self.departures
    }

    /// Whether that run of a node, of which one has just read, lives at `now`.
    pub fn life(&mut self, now: Instant, run: &NodeRun) -> Life {
        if self.alone {
            return Life::Dead;
        }
        match self.seen.get(&run.name) {
            Some(seen) if seen.record.run == *run => match seen.still {
                still if still >= DEAD_AFTER => Life::Dead,
                still if still >= DOUBTED_AFTER => Life::Doubted,
                _ => Life::Alive(seen.record.clone()),
            },
            // It is dead if it is not listed by a look that began after one first heard of it.
            _ => {
                let heard = *self.strangers.entry(run.clone()).or_insert(now);
                match self.looked.is_some_and(|looked| looked > heard) {
                    true => Life::Dead,
                    false => Life::Doubted,
                }
            }
        }
    }

    /// Whether the store lists it, be it silent or not.
    pub fn is_listed(&self, run: &NodeRun) -> bool {
        let seen = self.seen.get(&run.name);
        seen.is_some_and(|seen| seen.record.run == *run)
    }

    /// Whether another run has this node's name.
    pub fn has_impostor(&self) -> bool {
        let own = self.seen.get(&self.me.name);
        own.is_some_and(|seen| self.is_impostor(&seen.record))
    }

    fn is_impostor(&self, record: &NodeRecord) -> bool {
        record.run.name == self.me.name && record.run != self.me
    }

    /// All others that the store lists, be they silent or not.
    pub fn listed(&self) -> Vec<NodeRecord> {
        let others = self.seen.values().filter(|seen| seen.record.run != self.me);
        others.map(|seen| seen.record.clone()).collect()
    }

    /// All others that the store lists, and whether they live.
    pub fn census(&self) -> Vec<(NodeRecord, NodeLife)> {
        let others = self.seen.values().filter(|seen| seen.record.run != self.me);
        let life = |seen: &Seen| match seen.still {
            still if still >= DEAD_AFTER => NodeLife::Dead,
            still if still >= DOUBTED_AFTER => NodeLife::Doubted,
            _ => NodeLife::Alive,
        };
        others
            .map(|seen| (seen.record.clone(), life(seen)))
            .collect()
    }

    /// See [`Nodes::lease_epoch`](super::Nodes::lease_epoch).
    pub fn lease_epoch(&self, now: Instant) -> Option<u64> {
        if self.alone {
            return Some(0);
        }
        let beaten = self.beaten?;
        (now.saturating_duration_since(beaten) < SURE_FOR).then_some(self.breaks)
    }

    /// The others that live.
    pub fn others(&self) -> Vec<NodeRecord> {
        let lives = |seen: &&Seen| seen.still < DOUBTED_AFTER && seen.record.run != self.me;
        let others = self.seen.values().filter(lives);
        others.map(|seen| seen.record.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, incarnation: u64) -> NodeRun {
        NodeRun {
            name: name.parse().unwrap(),
            incarnation,
        }
    }

    fn record(name: &str, incarnation: u64, counter: u64) -> NodeRecord {
        NodeRecord {
            run: run(name, incarnation),
            counter,
            cluster: format!("{name}.example.org:4433"),
            public: vec![format!("{name}.example.org:4433")],
        }
    }

    /// Looks so often, at the counters that `at` gives for each look.
    fn watch(looks: u32, at: impl Fn(u32) -> Option<u64>) -> Watch {
        let mut members = Members::new(run("one", 1));
        let start = Instant::now();
        for look in 0..looks {
            if let Some(counter) = at(look) {
                let now = start + BEAT_INTERVAL * look;
                members.look(now, vec![record("two", 7, counter)]);
            }
        }
        let now = start + BEAT_INTERVAL * looks;
        Watch { members, now }
    }

    struct Watch {
        members: Members,
        now: Instant,
    }

    impl Watch {
        fn life(&mut self, run: &NodeRun) -> Life {
            self.members.life(self.now, run)
        }
    }

    #[test]
    fn who_stands_still_for_long_enough_is_dead() {
        let two = run("two", 7);
        assert_eq!(
            watch(60, |look| Some(look.into())).life(&two),
            Life::Alive(record("two", 7, 59))
        );
        assert_eq!(
            watch(6, |look| Some(look.min(2).into())).life(&two),
            Life::Alive(record("two", 7, 2))
        );
        assert_eq!(
            watch(9, |look| Some(look.min(2).into())).life(&two),
            Life::Doubted
        );
        assert_eq!(
            watch(10, |look| Some(look.min(2).into())).life(&two),
            Life::Dead
        );
    }

    #[test]
    fn a_store_that_does_not_answer_kills_nobody() {
        let outage = |look: u32| (!(3..=60).contains(&look)).then_some(2);
        assert_ne!(watch(63, outage).life(&run("two", 7)), Life::Dead);
        assert_eq!(watch(69, outage).life(&run("two", 7)), Life::Dead);
    }

    #[test]
    fn who_was_started_again_or_is_not_listed_is_dead_and_who_was_not_looked_for_is_not() {
        let mut watch = watch(3, |look| Some(look.into()));
        let (before, three) = (run("two", 6), run("three", 1));
        // They may have come after the look.
        assert_eq!(watch.life(&before), Life::Doubted);
        assert_eq!(watch.life(&three), Life::Doubted);
        watch.now += Duration::from_secs(1);
        let listed = vec![record("two", 7, 3), record("three", 1, 1)];
        watch.members.look(watch.now, listed);
        assert_eq!(watch.life(&before), Life::Dead);
        assert_eq!(watch.life(&three), Life::Alive(record("three", 1, 1)));
        let mut alone = Members::alone(run("one", 1));
        assert_eq!(alone.life(watch.now, &three), Life::Dead);
    }

    #[test]
    fn every_end_of_a_run_is_counted_once() {
        assert_eq!(watch(60, |look| Some(look.into())).members.departures(), 0);
        let mut watch = watch(40, |look| Some(look.min(2).into()));
        assert_eq!(watch.members.departures(), 1, "it stood still");
        let mut look = |listed| {
            watch.now += BEAT_INTERVAL;
            watch.members.look(watch.now, listed);
            watch.members.departures()
        };
        assert_eq!(look(vec![record("two", 8, 1)]), 2, "it was started again");
        assert_eq!(look(vec![record("two", 8, 2)]), 2);
        assert_eq!(look(Vec::new()), 3, "it is not listed any more");
        assert_eq!(look(Vec::new()), 3);
    }

    #[test]
    fn two_runs_of_one_name_are_sure_of_nothing() {
        let mut members = Members::new(run("one", 1));
        let now = Instant::now();
        members.beaten(now);
        assert!(members.lease_epoch(now).is_some());
        members.look(now, vec![record("one", 2, 5)]);
        assert_eq!(members.lease_epoch(now), None);
    }

    #[test]
    fn a_node_that_stood_still_knows_it() {
        let mut members = Members::new(run("one", 1));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(members.lease_epoch(start), None);
        for second in 0..10 {
            members.beaten(after(second));
        }
        let first = members.lease_epoch(after(11));
        assert!(first.is_some());
        assert_eq!(members.lease_epoch(after(12)), None);
        members.beaten(after(40));
        let second = members.lease_epoch(after(41));
        assert!(second.is_some());
        assert_ne!(first, second);
    }

    #[test]
    fn nobody_takes_a_node_for_dead_while_it_is_sure() {
        // Looks and heartbeats at the worst moments towards each other.
        for offset in (0..500).step_by(50) {
            let start = Instant::now();
            let (mut one, mut two) = (Members::new(run("one", 1)), Members::new(run("two", 7)));
            let after = |millis| start + Duration::from_millis(millis);
            let last_beat = 5000;
            let mut counter = 0;
            for millis in (0..20_000).step_by(50) {
                if millis % 500 == 0 && millis <= last_beat {
                    two.beaten(after(millis));
                    counter += 1;
                }
                if millis % 500 == offset {
                    one.look(after(millis), vec![record("two", 7, counter)]);
                }
                let life = one.life(after(millis), &run("two", 7));
                if life == Life::Dead && millis > 1000 {
                    assert_eq!(two.lease_epoch(after(millis)), None, "at {millis} ms");
                }
            }
        }
    }
}
