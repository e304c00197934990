//! Probes a relay that control does not hear, through the room's participants.
//!
//! A silent link does not tell whether the relay is dead or only the link to it. Participants know: some are asked whether the relay answers
//! on their media sessions. While one of them reaches the relay the room stays; when none does it fails over.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Participants that are asked in one probe.
pub(super) const ASKED_AT_ONCE: usize = 32;
/// Clients have 250 ms to reach the relay; the rest is for their answers to arrive.
const ANSWER_WAIT: Duration = Duration::from_millis(400);
/// Time between two probes while the link stays silent.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// For so long one participant that reaches the relay keeps the room there. After that the majority of the answers decides.
const MINORITY_HOLDS: Duration = Duration::from_secs(5);
/// Time for a relay to link again where no participant can be asked.
const RELINK_GRACE: Duration = Duration::from_secs(2);

/// A probe under way.
pub(super) struct RelayProbe {
    /// Start of the first of the probes that followed one another.
    since: Instant,
    /// False if the link is well and a participant reported that the relay does not answer.
    is_link_lost: bool,
    /// Senders that were asked and have not answered.
    pending: BTreeSet<u16>,
    /// Senders that reach the relay.
    reaching: BTreeSet<u16>,
    /// Number of senders that do not reach it.
    failing: usize,
    decide_at: Instant,
}

/// The result of a probe.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The relay and its link are well.
    Healthy,
    /// The relay serves participants, without a link to control: probe again.
    Reachable,
    /// The relay serves nobody, or not the majority: fail over if another relay is there.
    Failed,
}

impl RelayProbe {
    /// Starts a probe of these senders. `before` is the probe that it follows.
    pub(super) fn start(
        now: Instant,
        before: Option<&Self>,
        senders: impl Iterator<Item = u16>,
        is_link_lost: bool,
    ) -> Self {
        let pending: BTreeSet<u16> = senders.collect();
        let wait = match (pending.is_empty(), before) {
            (true, _) => RELINK_GRACE,
            (false, None) => ANSWER_WAIT,
            (false, Some(_)) => PROBE_INTERVAL,
        };
        Self {
            since: before.map_or(now, |before| before.since),
            is_link_lost,
            pending,
            reaching: BTreeSet::new(),
            failing: 0,
            decide_at: now + wait,
        }
    }

    /// The link is lost, too.
    pub(super) fn lose_link(&mut self) {
        self.is_link_lost = true;
    }

    /// Start of the silence of the link; `None` while the link is well.
    pub(super) fn link_lost_since(&self) -> Option<Instant> {
        self.is_link_lost.then_some(self.since)
    }

    pub(super) fn deadline(&self) -> Instant {
        self.decide_at
    }

    /// Takes the answer of a sender. Answers of senders that were not asked, or that have answered already, do not count. Returns true if
    /// all senders have answered and none reaches the relay.
    pub(super) fn answer(&mut self, sender: u16, is_reached: bool) -> bool {
        if !self.pending.remove(&sender) {
            return false;
        }
        if is_reached {
            self.reaching.insert(sender);
            return false;
        }
        self.failing += 1;
        self.pending.is_empty() && self.reaching.is_empty()
    }

    /// The outcome; `None` before the deadline.
    pub(super) fn outcome(&self, now: Instant) -> Option<Outcome> {
        if now < self.decide_at {
            return None;
        }
        let is_minority = self.failing > self.reaching.len();
        let is_outvoted = is_minority && now >= self.since + MINORITY_HOLDS;
        let is_reached = !self.reaching.is_empty() && !is_outvoted;
        Some(match (self.is_link_lost, is_reached) {
            (false, true) => Outcome::Healthy,
            // A missing answer is no evidence against a relay that is linked.
            (false, false) if !self.pending.is_empty() => Outcome::Healthy,
            (true, true) => Outcome::Reachable,
            (_, false) => Outcome::Failed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDERS: [u16; 3] = [1, 2, 3];

    fn probe(now: Instant, is_link_lost: bool) -> RelayProbe {
        RelayProbe::start(now, None, SENDERS.into_iter(), is_link_lost)
    }

    #[test]
    fn a_minority_that_reaches_the_relay_holds_the_room_for_five_seconds() {
        let start = Instant::now();
        let mut probe = probe(start, true);
        assert_eq!(probe.outcome(start), None);
        probe.answer(1, true);
        probe.answer(2, false);
        probe.answer(3, false);
        let due = probe.deadline();
        assert_eq!(probe.outcome(due), Some(Outcome::Reachable));
        assert_eq!(probe.outcome(start + MINORITY_HOLDS), Some(Outcome::Failed));
    }

    #[test]
    fn the_last_answer_tells_that_nobody_reaches_the_relay() {
        let start = Instant::now();
        let mut probe = probe(start, true);
        assert!(!probe.answer(1, false));
        assert!(!probe.answer(1, false), "it has answered already");
        assert!(!probe.answer(9, false), "it was not asked");
        assert!(!probe.answer(2, false));
        assert!(probe.answer(3, false));
        assert_eq!(probe.outcome(probe.deadline()), Some(Outcome::Failed));
    }

    #[test]
    fn a_missing_answer_does_not_fail_a_linked_relay() {
        let start = Instant::now();
        let mut probe = probe(start, false);
        probe.answer(1, false);
        assert_eq!(probe.outcome(probe.deadline()), Some(Outcome::Healthy));
        probe.answer(2, false);
        probe.answer(3, false);
        assert_eq!(probe.outcome(probe.deadline()), Some(Outcome::Failed));
    }

    #[test]
    fn a_following_probe_keeps_the_start_of_the_silence() {
        let start = Instant::now();
        let first = probe(start, true);
        let later = start + MINORITY_HOLDS;
        let second = RelayProbe::start(later, Some(&first), SENDERS.into_iter(), true);
        assert_eq!(second.link_lost_since(), Some(start));
        assert_eq!(second.deadline(), later + PROBE_INTERVAL);
        let empty = RelayProbe::start(later, None, [].into_iter(), true);
        assert_eq!(empty.deadline(), later + RELINK_GRACE);
    }
}
