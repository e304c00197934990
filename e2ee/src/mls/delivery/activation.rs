//! When members seal under a new epoch, and when the one before it retires.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::mls::member::{ABSENT_FOR, RETIRE_AFTER};

/// An epoch is activated when all have acknowledged it, or after this time.
pub const ACTIVATE_AFTER: Duration = Duration::from_millis(300);

/// The same for the first commit of a group, from when the relays know its leaves: those who were in a group before go on there until all of them
/// have got their Welcomes.
pub const ACTIVATE_FIRST_AFTER: Duration = Duration::from_secs(2);

/// The first commit of a group waits for relays so long at most.
const GATE_WAIT: Duration = Duration::from_secs(2);

/// The epochs of a group that are not activated, or whose predecessor has not retired.
#[derive(Debug, Default)]
pub(super) struct Activation {
    waiting: VecDeque<(u64, Instant)>,
    retiring: VecDeque<(u64, Instant)>,
    /// The newest epoch whose time is over, and the newest that was told to have retired.
    over: Option<u64>,
    retired: Option<u64>,
    /// The last epoch whose commit removed somebody: nobody is heard under those before it for long.
    last_cut: Option<u64>,
    /// The oldest epoch in which somebody has stayed behind, and until when it is kept for them.
    stragglers: Option<(u64, Instant)>,
    /// The newest activated epoch, and the leaves that had not reached it.
    last: Option<u64>,
    absent: Arc<[u32]>,
}

impl Activation {
    /// A commit has led to `epoch`. It removed somebody or not.
    pub(super) fn begin(&mut self, now: Instant, epoch: u64, is_cut: bool) {
        if is_cut {
            self.last_cut = Some(epoch);
        }
        // Nobody but the creator is ever in epoch 0: it would seal what nobody can open.
        self.waiting.retain(|(before, _)| *before > 0);
        // Those who were in the group before wait for the relays first: nobody is to seal what they cannot open yet.
        let gate = if epoch == 1 {
            GATE_WAIT
        } else {
            Duration::ZERO
        };
        self.waiting
            .push_back((epoch, now + gate + patience(epoch)));
    }

    /// The relays know the leaves of an epoch: its Welcomes go out.
    pub(super) fn gate_opened(&mut self, now: Instant, epoch: u64) {
        for (of, deadline) in &mut self.waiting {
            if *of <= epoch {
                *deadline = (*deadline).min(now + patience(*of));
            }
        }
    }

    /// The epoch to activate now: the newest that all have reached, or whose time is over.
    pub(super) fn take(&mut self, now: Instant, has_reached: impl Fn(u64) -> bool) -> Option<u64> {
        let mut due = None;
        while let Some((epoch, deadline)) = self.waiting.front().copied() {
            if !has_reached(epoch) && deadline > now {
                break;
            }
            due = Some(epoch);
            self.waiting.pop_front();
        }
        self.last = due.or(self.last);
        if let Some(epoch) = due.and_then(|epoch| epoch.checked_sub(1)) {
            self.retiring.push_back((epoch, now + RETIRE_AFTER));
        }
        due
    }

    /// These leaves have not reached the epoch that was activated last, and are in these epochs.
    pub(super) fn set_absent(&mut self, now: Instant, absent: Vec<(u32, u64)>) {
        self.keep_for(now, &absent);
        self.absent = absent.into_iter().map(|(leaf, _)| leaf).collect();
    }

    /// Leaves that have not reached the epoch that was activated last keep theirs, if nobody was removed since.
    fn keep_for(&mut self, now: Instant, absent: &[(u32, u64)]) {
        let last_cut = self.last_cut;
        let stays = |at: &u64| last_cut.is_none_or(|cut| cut <= *at);
        let oldest = absent.iter().map(|(_, at)| *at).filter(stays).min();
        self.stragglers = oldest.map(|at| match self.stragglers {
            Some((known, until)) if known == at => (at, until),
            _ => (at, now + ABSENT_FOR),
        });
    }

    /// True while an epoch is kept for leaves that have not reached the next one.
    pub(super) fn has_stragglers(&self) -> bool {
        self.stragglers.is_some()
    }

    /// The epoch that was activated last.
    pub(super) fn last(&self) -> Option<u64> {
        self.last
    }

    /// The leaves that had not reached it.
    pub(super) fn absent(&self) -> Arc<[u32]> {
        Arc::clone(&self.absent)
    }

    /// The newest epoch that has retired by now; those before it have, too. `absent`: leaves that have not reached the epoch that was
    /// activated last, and their epochs.
    pub(super) fn take_retired(&mut self, now: Instant, absent: &[(u32, u64)]) -> Option<u64> {
        while let Some((epoch, _)) = self.retiring.front().copied().filter(|(_, at)| *at <= now) {
            self.over = Some(epoch);
            self.retiring.pop_front();
        }
        if self.stragglers.is_some() {
            self.keep_for(now, absent);
        }
        let kept = self.stragglers.filter(|(_, until)| *until > now);
        let retired = match kept {
            Some((oldest, _)) => self.over.min(oldest.checked_sub(1)),
            None => self.over,
        };
        if retired <= self.retired {
            return None;
        }
        self.retired = retired;
        retired
    }

    /// When to look again. `is_waiting`: nothing is activated until something happens.
    pub(super) fn deadline(&self, is_waiting: bool) -> Option<Instant> {
        let first = |queue: &VecDeque<(u64, Instant)>| queue.front().map(|(_, at)| *at);
        let kept = self.stragglers.map(|(_, until)| until);
        let kept = kept.filter(|_| self.over > self.retired);
        let waiting = first(&self.waiting).filter(|_| !is_waiting);
        [waiting, first(&self.retiring), kept]
            .into_iter()
            .flatten()
            .min()
    }
}

/// How long an epoch waits for those who have not acknowledged it.
fn patience(epoch: u64) -> Duration {
    match epoch {
        0 | 1 => ACTIVATE_FIRST_AFTER,
        _ => ACTIVATE_AFTER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_activated_when_all_have_it_or_after_its_time() {
        let now = Instant::now();
        let mut activation = Activation::default();
        activation.begin(now, 1, false);
        assert_eq!(activation.take(now, |epoch| epoch == 0), None);
        assert_eq!(activation.take(now, |epoch| epoch <= 1), Some(1));
        activation.begin(now, 2, false);
        assert_eq!(
            activation.take(now + ACTIVATE_AFTER, |epoch| epoch <= 1),
            Some(2)
        );
        assert_eq!(activation.take(now + ACTIVATE_AFTER, |_| true), None);
    }

    #[test]
    fn activating_an_epoch_activates_those_before_it() {
        let now = Instant::now();
        let mut activation = Activation::default();
        for epoch in 1..=3 {
            activation.begin(now, epoch, false);
        }
        assert_eq!(activation.take(now, |_| true), Some(3));
        assert_eq!(activation.take_retired(now, &[]), None);
        assert_eq!(activation.take_retired(now + RETIRE_AFTER, &[]), Some(2));
    }

    #[test]
    fn the_epoch_of_who_stays_behind_is_kept_for_a_while() {
        let now = Instant::now();
        let mut activation = Activation::default();
        for epoch in 1..=3 {
            activation.begin(now, epoch, false);
        }
        activation.take(now, |_| true);
        let behind = [(7, 1)];
        activation.set_absent(now, behind.to_vec());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(activation.take_retired(after(3), &behind), Some(0));
        assert_eq!(activation.take_retired(after(29), &behind), None);
        assert_eq!(activation.deadline(false), Some(now + ABSENT_FOR));
        assert_eq!(activation.take_retired(now + ABSENT_FOR, &behind), Some(2));
    }

    #[test]
    fn who_stays_behind_a_removal_is_not_waited_for_and_who_catches_up_neither() {
        for (is_cut, absent) in [(true, vec![(7, 1)]), (false, Vec::new())] {
            let now = Instant::now();
            let mut activation = Activation::default();
            activation.begin(now, 1, false);
            activation.begin(now, 2, is_cut);
            activation.take(now, |_| true);
            activation.set_absent(now, vec![(7, 1)]);
            assert_eq!(
                activation.take_retired(now + RETIRE_AFTER, &absent),
                Some(1)
            );
        }
    }
}
