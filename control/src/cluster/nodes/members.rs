//! Decides which nodes are alive. No I/O: inputs are the list of the store and a monotonic clock.
//!
//! A node increments a heartbeat counter in the store. Another node takes it for dead when the counter has not changed for
//! [`DEAD_AFTER`] on its own monotonic clock while the store answered; an outage of the store makes no node dead. A node holds
//! its lease while its last stored heartbeat is younger than [`LEASE_DURATION`]: other nodes saw that heartbeat no earlier than
//! it was written.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::cluster::status::NodeLiveness;
use crate::domain::NodeName;
use crate::store::{NodeRecord, NodeRun};

/// Time between two heartbeats, and between two reads of the others' heartbeats.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);
/// A node is dead when its counter has not changed for this time, while the store answered.
pub const DEAD_AFTER: Duration = Duration::from_millis(3500);
/// A node is suspected when its counter has not changed for this time: optional requests avoid it.
pub const SUSPECTED_AFTER: Duration = Duration::from_secs(2);
/// Duration of the lease, counted from the start of a heartbeat's write. Shorter than [`DEAD_AFTER`] by a margin for the drift of
/// clocks.
pub const LEASE_DURATION: Duration = Duration::from_millis(2500);
/// If two reads are further apart, the store did not answer in between, and the time does not count against any node.
const MAX_STEP: Duration = Duration::from_secs(2);

/// A run that is not listed is remembered for this time after the first query about it.
const FORGET_UNLISTED: Duration = Duration::from_secs(60);

/// Liveness of a run of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Liveness {
    /// Alive, with its addresses.
    Alive(NodeRecord),
    /// The heartbeat is late, or the run may have started after the last read of the store.
    Suspected,
    /// Dead, or restarted since.
    Dead,
}

/// The nodes that this node knows from the store.
pub struct Members {
    me: NodeRun,
    seen: HashMap<NodeName, Seen>,
    /// The last read of the store; `None` before the first.
    last_read: Option<Instant>,
    /// True if the store is not shared.
    alone: bool,
    /// Start of the last heartbeat that was stored; `None` before the first, and after another run with this node's name was
    /// listed.
    last_heartbeat: Option<Instant>,
    /// Number of times that the lease may have lapsed.
    lapses: u64,
    /// Number of runs of other nodes that have ended.
    departures: u64,
    /// Runs that were queried and not listed, with the time of the first query. They may have started after the last read.
    unlisted: HashMap<NodeRun, Instant>,
}

struct Seen {
    record: NodeRecord,
    unchanged_for: Duration,
}

impl Members {
    pub fn new(me: NodeRun) -> Self {
        Self {
            me,
            seen: HashMap::new(),
            last_read: None,
            alone: false,
            last_heartbeat: None,
            lapses: 0,
            departures: 0,
            unlisted: HashMap::new(),
        }
    }

    /// The only node, on a store that is not shared.
    pub fn alone(me: NodeRun) -> Self {
        Self {
            alone: true,
            ..Self::new(me)
        }
    }

    /// Records a heartbeat that was stored and whose write began at `began`.
    pub fn heartbeat_stored(&mut self, began: Instant) {
        let is_unbroken = self
            .last_heartbeat
            .is_some_and(|before| began.saturating_duration_since(before) < LEASE_DURATION);
        if !is_unbroken {
            self.lapses += 1;
        }
        self.last_heartbeat = Some(began);
    }

    /// Updates from the store's list, read at `now` or later.
    pub fn update(&mut self, now: Instant, listed: Vec<NodeRecord>) {
        let step = self
            .last_read
            .map(|before| now.saturating_duration_since(before))
            .filter(|step| *step <= MAX_STEP);
        self.last_read = Some(now);
        self.unlisted
            .retain(|_, since| now.saturating_duration_since(*since) < FORGET_UNLISTED);
        if listed.iter().any(|record| self.is_duplicate(record)) {
            // Another node that sees one run takes the other for dead.
            self.last_heartbeat = None;
        }
        let mut before = std::mem::take(&mut self.seen);
        for record in listed {
            let known = before.remove(&record.run.name);
            let is_restarted = |seen: &Seen| seen.record.run != record.run;
            let was_alive = known
                .as_ref()
                .is_some_and(|seen| seen.unchanged_for < DEAD_AFTER);
            self.departures += u64::from(known.as_ref().is_some_and(is_restarted));
            let same = known.filter(|seen| {
                seen.record.run == record.run && seen.record.counter == record.counter
            });
            let unchanged_for = same.zip(step);
            let unchanged_for =
                unchanged_for.map_or(Duration::ZERO, |(seen, step)| seen.unchanged_for + step);
            self.departures += u64::from(was_alive && unchanged_for >= DEAD_AFTER);
            self.seen.insert(
                record.run.name.clone(),
                Seen {
                    record,
                    unchanged_for,
                },
            );
        }
        self.departures += before.len() as u64;
    }

    /// Number of runs of other nodes that have died, restarted or left the list.
    pub fn departures(&self) -> u64 {
        self.departures
    }

    /// Liveness at `now` of a run whose name was just read from the store.
    pub fn liveness(&mut self, now: Instant, run: &NodeRun) -> Liveness {
        if self.alone {
            return Liveness::Dead;
        }
        match self.seen.get(&run.name) {
            Some(seen) if seen.record.run == *run => match seen.unchanged_for {
                unchanged_for if unchanged_for >= DEAD_AFTER => Liveness::Dead,
                unchanged_for if unchanged_for >= SUSPECTED_AFTER => Liveness::Suspected,
                _ => Liveness::Alive(seen.record.clone()),
            },
            // Dead if a read that began after the first query does not list it.
            _ => {
                let heard = *self.unlisted.entry(run.clone()).or_insert(now);
                match self.last_read.is_some_and(|last_read| last_read > heard) {
                    true => Liveness::Dead,
                    false => Liveness::Suspected,
                }
            }
        }
    }

    /// True if the store lists the run, alive or not.
    pub fn is_listed(&self, run: &NodeRun) -> bool {
        let seen = self.seen.get(&run.name);
        seen.is_some_and(|seen| seen.record.run == *run)
    }

    /// True if another run uses this node's name.
    pub fn has_duplicate(&self) -> bool {
        let own = self.seen.get(&self.me.name);
        own.is_some_and(|seen| self.is_duplicate(&seen.record))
    }

    fn is_duplicate(&self, record: &NodeRecord) -> bool {
        record.run.name == self.me.name && record.run != self.me
    }

    /// All other nodes that the store lists, alive or not.
    pub fn listed(&self) -> Vec<NodeRecord> {
        let others = self.seen.values().filter(|seen| seen.record.run != self.me);
        others.map(|seen| seen.record.clone()).collect()
    }

    /// All other nodes that the store lists, with their liveness.
    pub fn listed_with_liveness(&self) -> Vec<(NodeRecord, NodeLiveness)> {
        let others = self.seen.values().filter(|seen| seen.record.run != self.me);
        let liveness = |seen: &Seen| match seen.unchanged_for {
            unchanged_for if unchanged_for >= DEAD_AFTER => NodeLiveness::Dead,
            unchanged_for if unchanged_for >= SUSPECTED_AFTER => NodeLiveness::Suspected,
            _ => NodeLiveness::Alive,
        };
        others
            .map(|seen| (seen.record.clone(), liveness(seen)))
            .collect()
    }

    /// See [`Nodes::lease_epoch`](super::Nodes::lease_epoch).
    pub fn lease_epoch(&self, now: Instant) -> Option<u64> {
        if self.alone {
            return Some(0);
        }
        let last = self.last_heartbeat?;
        (now.saturating_duration_since(last) < LEASE_DURATION).then_some(self.lapses)
    }

    /// The other nodes that are alive.
    pub fn others(&self) -> Vec<NodeRecord> {
        let lives =
            |seen: &&Seen| seen.unchanged_for < SUSPECTED_AFTER && seen.record.run != self.me;
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

    /// Reads the store `reads` times; `at` gives the counter of node `two` for each read, `None` for an outage.
    fn observed(reads: u32, at: impl Fn(u32) -> Option<u64>) -> Observed {
        let mut members = Members::new(run("one", 1));
        let start = Instant::now();
        for read in 0..reads {
            if let Some(counter) = at(read) {
                let now = start + HEARTBEAT_INTERVAL * read;
                members.update(now, vec![record("two", 7, counter)]);
            }
        }
        let now = start + HEARTBEAT_INTERVAL * reads;
        Observed { members, now }
    }

    struct Observed {
        members: Members,
        now: Instant,
    }

    impl Observed {
        fn liveness(&mut self, run: &NodeRun) -> Liveness {
            self.members.liveness(self.now, run)
        }
    }

    #[test]
    fn a_node_whose_counter_stands_still_is_suspected_and_then_dead() {
        let two = run("two", 7);
        assert_eq!(
            observed(60, |update| Some(update.into())).liveness(&two),
            Liveness::Alive(record("two", 7, 59))
        );
        assert_eq!(
            observed(6, |update| Some(update.min(2).into())).liveness(&two),
            Liveness::Alive(record("two", 7, 2))
        );
        assert_eq!(
            observed(9, |update| Some(update.min(2).into())).liveness(&two),
            Liveness::Suspected
        );
        assert_eq!(
            observed(10, |update| Some(update.min(2).into())).liveness(&two),
            Liveness::Dead
        );
    }

    #[test]
    fn a_node_is_not_dead_while_the_store_does_not_answer() {
        let outage = |update: u32| (!(3..=60).contains(&update)).then_some(2);
        assert_ne!(
            observed(63, outage).liveness(&run("two", 7)),
            Liveness::Dead
        );
        assert_eq!(
            observed(69, outage).liveness(&run("two", 7)),
            Liveness::Dead
        );
    }

    #[test]
    fn a_restarted_or_unlisted_run_is_dead_after_the_next_read() {
        let mut observed = observed(3, |update| Some(update.into()));
        let (before, three) = (run("two", 6), run("three", 1));
        // They may have started after the read.
        assert_eq!(observed.liveness(&before), Liveness::Suspected);
        assert_eq!(observed.liveness(&three), Liveness::Suspected);
        observed.now += Duration::from_secs(1);
        let listed = vec![record("two", 7, 3), record("three", 1, 1)];
        observed.members.update(observed.now, listed);
        assert_eq!(observed.liveness(&before), Liveness::Dead);
        assert_eq!(
            observed.liveness(&three),
            Liveness::Alive(record("three", 1, 1))
        );
        let mut alone = Members::alone(run("one", 1));
        assert_eq!(alone.liveness(observed.now, &three), Liveness::Dead);
    }

    #[test]
    fn every_end_of_a_run_is_counted_once() {
        assert_eq!(
            observed(60, |update| Some(update.into()))
                .members
                .departures(),
            0
        );
        let mut observed = observed(40, |update| Some(update.min(2).into()));
        assert_eq!(observed.members.departures(), 1, "it stood still");
        let mut update = |listed| {
            observed.now += HEARTBEAT_INTERVAL;
            observed.members.update(observed.now, listed);
            observed.members.departures()
        };
        assert_eq!(update(vec![record("two", 8, 1)]), 2, "it was started again");
        assert_eq!(update(vec![record("two", 8, 2)]), 2);
        assert_eq!(update(Vec::new()), 3, "it is not listed any more");
        assert_eq!(update(Vec::new()), 3);
    }

    #[test]
    fn two_runs_of_one_name_have_no_lease() {
        let mut members = Members::new(run("one", 1));
        let now = Instant::now();
        members.heartbeat_stored(now);
        assert!(members.lease_epoch(now).is_some());
        members.update(now, vec![record("one", 2, 5)]);
        assert_eq!(members.lease_epoch(now), None);
    }

    #[test]
    fn a_late_heartbeat_begins_a_new_lease_epoch() {
        let mut members = Members::new(run("one", 1));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(members.lease_epoch(start), None);
        for second in 0..10 {
            members.heartbeat_stored(after(second));
        }
        let first = members.lease_epoch(after(11));
        assert!(first.is_some());
        assert_eq!(members.lease_epoch(after(12)), None);
        members.heartbeat_stored(after(40));
        let second = members.lease_epoch(after(41));
        assert!(second.is_some());
        assert_ne!(first, second);
    }

    #[test]
    fn no_node_takes_another_for_dead_during_its_lease() {
        // Reads and heartbeats with every offset to each other.
        for offset in (0..500).step_by(50) {
            let start = Instant::now();
            let (mut one, mut two) = (Members::new(run("one", 1)), Members::new(run("two", 7)));
            let after = |millis| start + Duration::from_millis(millis);
            let last_beat = 5000;
            let mut counter = 0;
            for millis in (0..20_000).step_by(50) {
                if millis % 500 == 0 && millis <= last_beat {
                    two.heartbeat_stored(after(millis));
                    counter += 1;
                }
                if millis % 500 == offset {
                    one.update(after(millis), vec![record("two", 7, counter)]);
                }
                let liveness = one.liveness(after(millis), &run("two", 7));
                if liveness == Liveness::Dead && millis > 1000 {
                    assert_eq!(two.lease_epoch(after(millis)), None, "at {millis} ms");
                }
            }
        }
    }
}
