//! When a member without a group offers other key packages: what it has offered may be used up without a Welcome.

use std::time::{Duration, Instant};

/// Time without a group until the first offer, and then twice as long each time, to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);
/// Control is obeyed so often at most.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Renewal {
    /// Control has asked for it.
    pub(super) is_wanted: bool,
    next: Option<Instant>,
    wait: Duration,
    last: Option<Instant>,
    /// When the participant is to be told; `None` once it was, and before there is no group.
    tell_at: Option<Instant>,
}

/// Key packages are to be offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Offer {
    /// For the first time after there was no group for [`FIRST`].
    First,
    Another,
}

impl Default for Renewal {
    fn default() -> Self {
        Self {
            is_wanted: false,
            next: None,
            wait: FIRST,
            last: None,
            tell_at: None,
        }
    }
}

impl Renewal {
    /// Does what is due; gives an offer if key packages are to be offered now.
    pub(super) fn step(&mut self, now: Instant, has_group: bool) -> Option<Offer> {
        if has_group {
            *self = Self {
                last: self.last,
                ..Self::default()
            };
            return None;
        }
        let next = *self.next.get_or_insert_with(|| {
            self.tell_at = Some(now + FIRST);
            now + self.wait
        });
        if std::mem::take(&mut self.is_wanted) {
            let earliest = self.last.map_or(now, |last| last + AT_MOST_EVERY);
            self.next = Some(next.min(earliest));
        }
        if self.next.is_some_and(|next| next > now) {
            return None;
        }
        self.wait = (self.wait * 2).min(LONGEST);
        self.next = Some(now + self.wait);
        self.last = Some(now);
        Some(match self.tell_at.take_if(|at| *at <= now) {
            Some(_) => Offer::First,
            None => Offer::Another,
        })
    }

    /// When it is to be asked again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_packages_are_offered_again_less_and_less_often() {
        let start = Instant::now();
        let mut renewal = Renewal::default();
        let mut offered = Vec::new();
        for second in 0..200 {
            let offer = renewal.step(start + Duration::from_secs(second), false);
            offered.extend(offer.map(|offer| (second, offer == Offer::First)));
        }
        let expected = [5, 15, 35, 75, 135, 195].map(|second| (second, second == 5));
        assert_eq!(offered, expected);
        assert_eq!(renewal.step(start + Duration::from_secs(200), true), None);
        assert_eq!(renewal.deadline(), None);
    }

    #[test]
    fn control_may_ask_for_them_once_a_second() {
        let start = Instant::now();
        let mut renewal = Renewal::default();
        let mut offered = 0;
        for tenth in 0..40 {
            renewal.is_wanted = true;
            let now = start + Duration::from_millis(100 * tenth);
            offered += u32::from(renewal.step(now, false).is_some());
        }
        assert_eq!(offered, 4);
    }
}
