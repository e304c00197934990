//! Who still waits for a database that does not answer. No I/O.

use std::time::{Duration, Instant};

/// While the database does not answer it is asked so often whether it does again.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Where somebody is to get an answer that memory has, too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// From the database.
    Database,
    /// From memory, at once.
    Memory,
    /// From memory, at once; and the database is asked meanwhile, to see whether it answers.
    MemoryAndProbe,
}

/// Open after an operation that the database did not answer, until it answers one.
#[derive(Default)]
pub(super) struct Breaker {
    /// When to ask the database again; `None`: it answers.
    probe_at: Option<Instant>,
}

impl Breaker {
    /// Whether the database did not answer the last operation that it was asked.
    pub(super) fn is_open(&self) -> bool {
        self.probe_at.is_some()
    }

    /// The way for somebody who comes now.
    pub(super) fn way(&mut self, now: Instant) -> Way {
        match &mut self.probe_at {
            None => Way::Database,
            Some(at) if now < *at => Way::Memory,
            Some(at) => {
                *at = now + PROBE_INTERVAL;
                Way::MemoryAndProbe
            }
        }
    }

    /// The database has answered, be it that something is not there.
    pub(super) fn answered(&mut self) {
        if self.probe_at.take().is_some() {
            tracing::info!("the store answers again: nobody is answered from memory any more");
        }
    }

    /// The database has not answered.
    pub(super) fn failed(&mut self, now: Instant) {
        if self.probe_at.is_none() {
            tracing::warn!(
                "the store does not answer: joins and sign-ins are answered from memory, where it has an answer"
            );
            self.probe_at = Some(now + PROBE_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_one_a_second_asks_the_database_and_nobody_waits_for_it() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(breaker.way(at(0)), Way::Database);
        breaker.failed(at(0));
        assert!(breaker.is_open());
        let ways = [0, 500, 999].map(|millis| breaker.way(at(millis)));
        assert_eq!(ways, [Way::Memory; 3]);
        assert_eq!(breaker.way(at(1000)), Way::MemoryAndProbe);
        assert_eq!(breaker.way(at(1001)), Way::Memory);
        // What was asked before fails late: that makes the next probe no later.
        breaker.failed(at(1500));
        assert_eq!(breaker.way(at(2000)), Way::MemoryAndProbe);
        breaker.answered();
        assert!(!breaker.is_open());
        assert_eq!(breaker.way(at(2001)), Way::Database);
    }
}
