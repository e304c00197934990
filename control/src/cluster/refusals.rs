//! Backoff for relays that do not open media sessions: such a relay is placed last for a while.
//!
//! A relay reports its maximum of sessions, but not of rooms, and its report may be wrong. Only a refused command shows that it
//! accepts no more.

use std::time::{Duration, Instant};

/// A relay that refused to open a session, or did not answer, is placed last for this time.
pub(super) const BACKOFF: Duration = Duration::from_secs(10);
/// Maximum of that time, which doubles with each further failure.
pub(super) const MAX_BACKOFF: Duration = Duration::from_secs(5 * 60);
/// Minimum time between two log lines about one relay.
const LOG_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// The backoff of one boot of a relay.
#[derive(Default)]
pub(super) struct Refusals {
    /// End and length of the current backoff.
    backoff: Option<(Instant, Duration)>,
    logged: Option<Instant>,
}

impl Refusals {
    /// Records a failure to open a session. Returns true if it should be logged.
    #[must_use]
    pub(super) fn refused(&mut self, now: Instant) -> bool {
        let was_logged = self.backoff.is_some();
        match self.backoff {
            // The command was sent before the first failure, or no other relay exists: the backoff does not grow.
            Some((until, _)) if now < until => return false,
            Some((_, length)) => {
                let length = (length * 2).min(MAX_BACKOFF);
                self.backoff = Some((now + length, length));
            }
            None => self.backoff = Some((now + BACKOFF, BACKOFF)),
        }
        let is_due = |at: Instant| now.saturating_duration_since(at) >= LOG_INTERVAL;
        let is_logged = !was_logged && self.logged.is_none_or(is_due);
        if is_logged {
            self.logged = Some(now);
        }
        is_logged
    }

    /// Records a success, which ends the backoff.
    pub(super) fn opened(&mut self) {
        self.backoff = None;
    }

    /// True while the relay is placed last.
    pub(super) fn is_backed_off(&self, now: Instant) -> bool {
        self.backoff.is_some_and(|(until, _)| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_doubles_with_each_refusal_up_to_a_maximum() {
        let (mut refusals, mut now) = (Refusals::default(), Instant::now());
        assert!(!refusals.is_backed_off(now));
        for seconds in [10, 20, 40, 80, 160, 300, 300] {
            let _ = refusals.refused(now);
            // Failures of commands sent earlier do not extend the backoff.
            let _ = refusals.refused(now + Duration::from_secs(1));
            now += Duration::from_secs(seconds);
            assert!(refusals.is_backed_off(now - Duration::from_millis(1)));
            assert!(!refusals.is_backed_off(now), "{seconds} s are over");
        }
    }

    #[test]
    fn an_opened_session_resets_the_backoff() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        let _ = refusals.refused(now);
        let _ = refusals.refused(now + BACKOFF);
        refusals.opened();
        assert!(!refusals.is_backed_off(now + BACKOFF));
        let _ = refusals.refused(now + BACKOFF);
        assert!(!refusals.is_backed_off(now + 2 * BACKOFF));
    }

    #[test]
    fn refusals_are_logged_once_in_a_while() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        assert!(refusals.refused(now));
        assert!(!refusals.refused(now + BACKOFF));
        refusals.opened();
        assert!(!refusals.refused(now + 2 * BACKOFF), "too soon");
        refusals.opened();
        assert!(refusals.refused(now + LOG_INTERVAL));
    }
}
