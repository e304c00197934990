//! Leftovers: rooms at a relay that no room of this node owns. A leftover remains when a node dies, or when a relay is
//! unreachable for so long that its rooms move to another relay.
//!
//! The participants of a leftover still hear each other and soon reconnect, so a leftover is closed only after a grace period. A
//! ban or a kick must hold at once, so the leftovers of a moderated conference are closed without grace.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use confab_protocol::control::ConferenceId;

/// Grace period of a leftover: longer than a client takes to notice the loss and to reconnect.
const GRACE: Duration = Duration::from_secs(20);
/// Maximum number of leftovers of one relay. The link of a relay that reports more is closed.
pub const MAX_LEFTOVERS: usize = 262_144;
/// Maximum number of leftovers of one relay that are closed in one round, so that a relay that does not answer does not delay
/// others.
const MAX_CLOSED_PER_ROUND: usize = 32;
/// A leftover that the relay has not confirmed as closed is due again after this time.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// Maximum number of moderated conferences that are remembered, in case a relay links later with leftovers of one.
const MAX_MODERATED: usize = 100_000;
/// Moderated conferences are remembered for this time. A relay ends a session without packets after two minutes at most.
const MODERATED_FOR: Duration = Duration::from_secs(60 * 60);
/// Time between two purges of expired entries.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Leftovers(HashMap<ConferenceId, Leftover>);

#[derive(Clone, Copy)]
struct Leftover {
    since: Instant,
    /// The last attempt to close it.
    tried: Option<Instant>,
}

impl Leftover {
    fn now() -> Self {
        Self {
            since: Instant::now(),
            tried: None,
        }
    }

    fn waits_for_retry(&self, now: Instant) -> bool {
        self.tried
            .is_some_and(|at| now.saturating_duration_since(at) < RETRY_INTERVAL)
    }
}

impl Leftovers {
    pub(super) fn add(&mut self, conference: ConferenceId) {
        self.0.entry(conference).or_insert_with(Leftover::now);
    }

    /// True if no further leftover may be added.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MAX_LEFTOVERS
    }

    pub(super) fn remove(&mut self, conference: ConferenceId) {
        self.0.remove(&conference);
    }

    /// The time at which the leftover was first seen.
    pub(super) fn since(&self, conference: ConferenceId) -> Option<Instant> {
        self.0.get(&conference).map(|leftover| leftover.since)
    }

    /// Up to [`MAX_CLOSED_PER_ROUND`] leftovers to close now: first those of moderated conferences, then those past their grace
    /// period. They are due again after [`RETRY_INTERVAL`] unless removed.
    pub(super) fn take_due(
        &mut self,
        now: Instant,
        moderated: &Moderated,
    ) -> [Vec<ConferenceId>; 2] {
        let (mut urgent, mut due) = (Vec::new(), Vec::new());
        for (conference, leftover) in &self.0 {
            if leftover.waits_for_retry(now) {
                continue;
            }
            if moderated.may_contain(now, *conference) {
                urgent.push(*conference);
            } else if now.saturating_duration_since(leftover.since) >= GRACE {
                due.push(*conference);
            }
        }
        urgent.truncate(MAX_CLOSED_PER_ROUND);
        due.truncate(MAX_CLOSED_PER_ROUND - urgent.len());
        for conference in urgent.iter().chain(&due) {
            if let Some(leftover) = self.0.get_mut(conference) {
                leftover.tried = Some(now);
            }
        }
        [urgent, due]
    }
}

/// Conferences that were moderated within the last hour.
#[derive(Default)]
pub(super) struct Moderated {
    conferences: HashMap<ConferenceId, Instant>,
    /// The last time that a conference did not fit in. For an hour after it, every leftover counts as moderated.
    overflowed: Option<Instant>,
    purged: Option<Instant>,
}

impl Moderated {
    pub(super) fn note(&mut self, now: Instant, conference: ConferenceId) {
        let is_due = |at: Instant| now.saturating_duration_since(at) >= PURGE_INTERVAL;
        if self.purged.is_none_or(is_due) {
            self.purged = Some(now);
            self.conferences.retain(|_, at| is_remembered(now, *at));
        }
        if self.conferences.len() < MAX_MODERATED || self.conferences.contains_key(&conference) {
            self.conferences.insert(conference, now);
        } else {
            self.overflowed = Some(now);
        }
    }

    fn may_contain(&self, now: Instant, conference: ConferenceId) -> bool {
        let noted = self.conferences.get(&conference).copied();
        [noted, self.overflowed]
            .into_iter()
            .flatten()
            .any(|at| is_remembered(now, at))
    }
}

fn is_remembered(now: Instant, at: Instant) -> bool {
    now.saturating_duration_since(at) < MODERATED_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conference(number: usize) -> ConferenceId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        ConferenceId::new(id)
    }

    #[test]
    fn a_moderated_conference_is_remembered_for_an_hour() {
        let (mut moderated, start) = (Moderated::default(), Instant::now());
        moderated.note(start, conference(1));
        assert!(moderated.may_contain(start + MODERATED_FOR / 2, conference(1)));
        assert!(!moderated.may_contain(start, conference(2)));
        assert!(!moderated.may_contain(start + MODERATED_FOR, conference(1)));
    }

    #[test]
    fn when_too_many_conferences_are_moderated_no_leftover_has_grace_for_an_hour() {
        let (mut moderated, start) = (Moderated::default(), Instant::now());
        for number in 0..=MAX_MODERATED {
            moderated.note(start, conference(number));
        }
        assert_eq!(moderated.conferences.len(), MAX_MODERATED);
        assert!(moderated.may_contain(start, conference(usize::MAX)));
        let later = start + MODERATED_FOR;
        assert!(!moderated.may_contain(later, conference(usize::MAX)));
        moderated.note(later, conference(7));
        assert_eq!(moderated.conferences.len(), 1, "the old ones are forgotten");
        assert!(moderated.may_contain(later, conference(7)));
        assert!(!moderated.may_contain(later, conference(8)));
    }
}
