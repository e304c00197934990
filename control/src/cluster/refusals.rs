//! What a node remembers of a relay that does not open media sessions: rooms go there last for a while.
//!
//! A relay says how many sessions it takes, but not how many rooms, and what it says of itself may be wrong. Only its answers show
//! that it takes no more.

use std::time::{Duration, Instant};

/// A relay that refused an open, or did not answer it, is last in placement for this time.
pub(super) const LAST_FOR: Duration = Duration::from_secs(10);
/// The same at most. The time doubles each time that the relay is tried again and does not open a session.
pub(super) const LAST_FOR_AT_MOST: Duration = Duration::from_secs(5 * 60);
/// A relay that opens some sessions and refuses others is logged again after this time.
const LOG_AGAIN: Duration = Duration::from_secs(10 * 60);

/// Of one run of a relay.
#[derive(Default)]
pub(super) struct Refusals {
    /// The relay is last in placement until then, because of a pause of this length.
    last: Option<(Instant, Duration)>,
    logged: Option<Instant>,
}

impl Refusals {
    /// The relay did not open a session. True if this is to be logged.
    #[must_use]
    pub(super) fn refused(&mut self, now: Instant) -> bool {
        let was_logged = self.last.is_some();
        match self.last {
            // It was asked before the first refusal, or there is no other relay: it has not been given time yet.
            Some((until, _)) if now < until => return false,
            Some((_, pause)) => {
                let pause = (pause * 2).min(LAST_FOR_AT_MOST);
                self.last = Some((now + pause, pause));
            }
            None => self.last = Some((now + LAST_FOR, LAST_FOR)),
        }
        let is_due = |at: Instant| now.saturating_duration_since(at) >= LOG_AGAIN;
        let is_logged = !was_logged && self.logged.is_none_or(is_due);
        if is_logged {
            self.logged = Some(now);
        }
        is_logged
    }

    /// The relay opened a session in time.
    pub(super) fn opened(&mut self) {
        self.last = None;
    }

    /// Whether rooms go to the relay only when there is no other.
    pub(super) fn is_last(&self, now: Instant) -> bool {
        self.last.is_some_and(|(until, _)| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_last_for_twice_as_long_each_time_it_refuses_again() {
        let (mut refusals, mut now) = (Refusals::default(), Instant::now());
        assert!(!refusals.is_last(now));
        for seconds in [10, 20, 40, 80, 160, 300, 300] {
            let _ = refusals.refused(now);
            // Others that were under way meanwhile change nothing.
            let _ = refusals.refused(now + Duration::from_secs(1));
            now += Duration::from_secs(seconds);
            assert!(refusals.is_last(now - Duration::from_millis(1)));
            assert!(!refusals.is_last(now), "{seconds} s are over");
        }
    }

    #[test]
    fn a_session_that_is_opened_makes_up_for_refusals() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        let _ = refusals.refused(now);
        let _ = refusals.refused(now + LAST_FOR);
        refusals.opened();
        assert!(!refusals.is_last(now + LAST_FOR));
        let _ = refusals.refused(now + LAST_FOR);
        assert!(!refusals.is_last(now + 2 * LAST_FOR));
    }

    #[test]
    fn refusals_are_logged_once() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        assert!(refusals.refused(now));
        assert!(!refusals.refused(now + LAST_FOR));
        refusals.opened();
        assert!(!refusals.refused(now + 2 * LAST_FOR), "too soon");
        refusals.opened();
        assert!(refusals.refused(now + LOG_AGAIN));
    }
}
