//! A circuit breaker for a database that does not answer. No I/O.

use std::time::{Duration, Instant};

/// Time between two probes of a database that does not answer.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The source of an answer that is also in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// From the database.
    Database,
    /// From memory, at once.
    Memory,
    /// From memory, at once. The caller also asks the database, to learn whether it answers.
    MemoryAndProbe,
}

/// Open after an operation that the database did not answer, until it answers one.
#[derive(Default)]
pub(super) struct Breaker {
    /// The time of the next probe; `None` while the database answers.
    probe_at: Option<Instant>,
}

impl Breaker {
    /// Whether the database did not answer the last operation.
    pub(super) fn is_open(&self) -> bool {
        self.probe_at.is_some()
    }

    /// The source for a request at `now`.
    pub(super) fn source(&mut self, now: Instant) -> Source {
        match &mut self.probe_at {
            None => Source::Database,
            Some(at) if now < *at => Source::Memory,
            Some(at) => {
                *at = now + PROBE_INTERVAL;
                Source::MemoryAndProbe
            }
        }
    }

    /// The database has answered, even with an error of the operation.
    pub(super) fn answered(&mut self) {
        if self.probe_at.take().is_some() {
            tracing::info!("the store answers again: no request is answered from memory any more");
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
    fn after_a_failure_one_request_a_second_probes_and_none_waits() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(breaker.source(at(0)), Source::Database);
        breaker.failed(at(0));
        assert!(breaker.is_open());
        let sources = [0, 500, 999].map(|millis| breaker.source(at(millis)));
        assert_eq!(sources, [Source::Memory; 3]);
        assert_eq!(breaker.source(at(1000)), Source::MemoryAndProbe);
        assert_eq!(breaker.source(at(1001)), Source::Memory);
        // A late failure of an earlier request does not delay the next probe.
        breaker.failed(at(1500));
        assert_eq!(breaker.source(at(2000)), Source::MemoryAndProbe);
        breaker.answered();
        assert!(!breaker.is_open());
        assert_eq!(breaker.source(at(2001)), Source::Database);
    }
}
