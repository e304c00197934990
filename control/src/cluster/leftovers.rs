//! Rooms that a relay still has and that no room of this node knows of: left over when a node died, or when the relay was
//! out of reach for so long that its rooms went elsewhere.
//!
//! Its participants talk on meanwhile and come back by themselves in a moment, so such a room is given some time. But a ban or a kick must
//! hold at once: a conference that is moderated loses its leftovers.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use confab_protocol::control::ConferenceId;

/// A leftover room is closed after this time: longer than a client takes to notice and to come back.
const GRACE: Duration = Duration::from_secs(20);
/// Leftovers of one relay that are known at most; a relay that says that it has more loses its link.
pub const MAX_LEFTOVERS: usize = 262_144;
/// Leftovers of one relay that are closed in one turn, so that one that does not obey holds up no other for long.
const DUE_OF_A_RELAY: usize = 32;
/// A leftover that was not closed is tried again after this time.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// Moderated conferences that are remembered, in case that a relay comes with leftovers of one.
const MAX_MODERATED: usize = 100_000;
/// For so long: no relay keeps a session without a packet for more than two minutes.
const MODERATED_FOR: Duration = Duration::from_secs(60 * 60);
/// Time between two searches for those that need not be remembered any more.
const FORGET_INTERVAL: Duration = Duration::from_secs(60);

/// The leftover rooms of one relay.
#[derive(Default)]
pub(super) struct Leftovers(HashMap<ConferenceId, Leftover>);

/// A room that a relay has and that no room here knows of.
#[derive(Clone, Copy)]
struct Leftover {
    since: Instant,
    /// When it was to be closed, the last time.
    tried: Option<Instant>,
}

impl Leftover {
    fn now() -> Self {
        Self {
            since: Instant::now(),
            tried: None,
        }
    }

    fn is_at_rest(&self, now: Instant) -> bool {
        self.tried
            .is_some_and(|at| now.saturating_duration_since(at) < TRY_AGAIN)
    }
}

impl Leftovers {
    /// The conference's room is left over.
    pub(super) fn add(&mut self, conference: ConferenceId) {
        self.0.entry(conference).or_insert_with(Leftover::now);
    }

    /// Whether the relay may say of no further room that it has it.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MAX_LEFTOVERS
    }

    pub(super) fn remove(&mut self, conference: ConferenceId) {
        self.0.remove(&conference);
    }

    /// Since when the conference's room has been left over.
    pub(super) fn since(&self, conference: ConferenceId) -> Option<Instant> {
        self.0.get(&conference).map(|leftover| leftover.since)
    }

    /// Some leftovers that are to be closed now: those of moderated conferences, and those whose grace is over. They are due again after a
    /// while if they are not removed.
    pub(super) fn take_due(
        &mut self,
        now: Instant,
        moderated: &Moderated,
    ) -> [Vec<ConferenceId>; 2] {
        let (mut urgent, mut due) = (Vec::new(), Vec::new());
        for (conference, leftover) in &self.0 {
            if leftover.is_at_rest(now) {
                continue;
            }
            if moderated.may_hold(now, *conference) {
                urgent.push(*conference);
            } else if now.saturating_duration_since(leftover.since) >= GRACE {
                due.push(*conference);
            }
        }
        urgent.truncate(DUE_OF_A_RELAY);
        due.truncate(DUE_OF_A_RELAY - urgent.len());
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
    /// When there were more than are remembered, the last time: for as long every leftover might be of one.
    overflowed: Option<Instant>,
    forgot: Option<Instant>,
}

impl Moderated {
    pub(super) fn note(&mut self, now: Instant, conference: ConferenceId) {
        let is_due = |at: Instant| now.saturating_duration_since(at) >= FORGET_INTERVAL;
        if self.forgot.is_none_or(is_due) {
            self.forgot = Some(now);
            self.conferences.retain(|_, at| is_remembered(now, *at));
        }
        if self.conferences.len() < MAX_MODERATED || self.conferences.contains_key(&conference) {
            self.conferences.insert(conference, now);
        } else {
            self.overflowed = Some(now);
        }
    }

    fn may_hold(&self, now: Instant, conference: ConferenceId) -> bool {
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
        assert!(moderated.may_hold(start + MODERATED_FOR / 2, conference(1)));
        assert!(!moderated.may_hold(start, conference(2)));
        assert!(!moderated.may_hold(start + MODERATED_FOR, conference(1)));
    }

    #[test]
    fn too_many_take_the_grace_from_all_leftovers_for_an_hour_and_no_longer() {
        let (mut moderated, start) = (Moderated::default(), Instant::now());
        for number in 0..=MAX_MODERATED {
            moderated.note(start, conference(number));
        }
        assert_eq!(moderated.conferences.len(), MAX_MODERATED);
        assert!(moderated.may_hold(start, conference(usize::MAX)));
        let later = start + MODERATED_FOR;
        assert!(!moderated.may_hold(later, conference(usize::MAX)));
        moderated.note(later, conference(7));
        assert_eq!(moderated.conferences.len(), 1, "the old ones are forgotten");
        assert!(moderated.may_hold(later, conference(7)));
        assert!(!moderated.may_hold(later, conference(8)));
    }
}
