//! The answers that the load got: the acknowledged writes, and the time of each answer.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use super::*;

use crate::mutex::lock;

/// Operations that are counted together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    Register,
    Open,
    SignIn,
    Rotate,
    Look,
    Moderate,
    Claim,
    Sweep,
    Beat,
}

const ALL: [Kind; 9] = [
    Kind::Register,
    Kind::Open,
    Kind::SignIn,
    Kind::Rotate,
    Kind::Look,
    Kind::Moderate,
    Kind::Claim,
    Kind::Sweep,
    Kind::Beat,
];

/// The possible contents of a row with one writer.
pub(super) struct Known<T> {
    /// One if the last write was acknowledged; several if it is not known which of them were done.
    pub(super) candidates: Vec<T>,
}

#[derive(Default)]
pub(super) struct Acknowledged {
    pub(super) accounts: Vec<AccountRecord>,
    pub(super) conferences: Vec<ConferenceRecord>,
    pub(super) sessions: Vec<(SessionId, Known<u32>)>,
    pub(super) standings: Vec<(ConferenceId, AccountId, Known<Option<Standing>>)>,
    pub(super) homes: Vec<(ConferenceId, HomeRecord)>,
}

struct Attempt {
    kind: Kind,
    phase: usize,
    ended: Instant,
    took: Duration,
    answered: bool,
}

#[derive(Default)]
struct Times {
    phases: Vec<(&'static str, Instant)>,
    attempts: Vec<Attempt>,
}

#[derive(Default)]
pub(super) struct Ledger {
    acknowledged: Mutex<Acknowledged>,
    times: Mutex<Times>,
}

impl Ledger {
    pub(super) fn acknowledged(&self) -> MutexGuard<'_, Acknowledged> {
        lock(&self.acknowledged)
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        lock(&self.times)
    }

    pub(super) fn begin(&self, phase: &'static str) {
        self.times().phases.push((phase, Instant::now()));
    }

    /// Runs an operation, and records its answer and duration. A refusal is an answer, too.
    pub(super) async fn attempt<T>(
        &self,
        kind: Kind,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let since = Instant::now();
        let outcome = operation.await;
        let answered = match &outcome {
            Ok(_) => true,
            Err(error) => !matches!(error, StoreError::Unavailable(_) | StoreError::Busy),
        };
        let mut times = self.times();
        let attempt = Attempt {
            kind,
            phase: times.phases.len().saturating_sub(1),
            ended: Instant::now(),
            took: since.elapsed(),
            answered,
        };
        times.attempts.push(attempt);
        outcome
    }

    /// The longest time without an answer, for each kind.
    fn silences(&self) -> BTreeMap<Kind, Duration> {
        let times = self.times();
        let mut last = BTreeMap::new();
        let mut silences = BTreeMap::new();
        for attempt in times.attempts.iter().filter(|attempt| attempt.answered) {
            let before = last.insert(attempt.kind, attempt.ended);
            let silence = before.map_or(Duration::ZERO, |before| attempt.ended - before);
            let longest: &mut Duration = silences.entry(attempt.kind).or_default();
            *longest = silence.max(*longest);
        }
        silences
    }

    /// Whether each kind of operation has been answered in the current phase.
    pub(super) fn all_are_answered(&self) -> bool {
        let times = self.times();
        let phase = times.phases.len().saturating_sub(1);
        let answered = |kind| {
            let mut attempts = times.attempts.iter().rev();
            attempts
                .any(|attempt| attempt.answered && attempt.phase == phase && attempt.kind == kind)
        };
        ALL.into_iter().all(answered)
    }

    /// A table of all phases and kinds.
    pub(super) fn told(&self) -> String {
        let silences = self.silences();
        let times = self.times();
        let mut text = String::new();
        for (phase, (name, began)) in times.phases.iter().enumerate() {
            let end = times.phases.get(phase + 1).map(|(_, end)| *end);
            let lasted = end.unwrap_or_else(Instant::now) - *began;
            text += &format!("{name}, {:.0} s\n", lasted.as_secs_f64());
            for kind in silences.keys() {
                let of_kind = || {
                    times
                        .attempts
                        .iter()
                        .filter(|attempt| attempt.phase == phase && attempt.kind == *kind)
                };
                let mut took: Vec<_> = of_kind()
                    .filter(|attempt| attempt.answered)
                    .map(|attempt| attempt.took)
                    .collect();
                took.sort();
                let at = |percent: usize| {
                    let index = (took.len() * percent / 100).min(took.len().saturating_sub(1));
                    took.get(index).copied().unwrap_or_default().as_millis()
                };
                text += &format!(
                    "  {kind:?}: {} answered, {} not; p50 {} ms, p99 {} ms, at most {} ms\n",
                    took.len(),
                    of_kind().count() - took.len(),
                    at(50),
                    at(99),
                    at(100),
                );
            }
        }
        for (kind, silence) in silences {
            text += &format!("longest time without an answer, {kind:?}: {silence:.1?}\n");
        }
        text
    }
}
