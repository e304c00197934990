//! Reports that the frames of a participant do not decrypt: it has other keys, or another participant sends under its leaf. Moderators are
//! told once two accounts report it: the report of a single account proves nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use confab_protocol::control::AccountId;

/// How long a report counts.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Least time between two reports of one account about one sender; earlier ones are ignored.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// Accounts that have to report a sender before moderators are told.
const ACCOUNTS: usize = 2;
/// Least time between two notices to moderators about one sender.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The reports, by sender label.
#[derive(Default)]
pub(super) struct FrameReports(HashMap<u16, Reports>);

/// The reports about one sender.
#[derive(Default)]
struct Reports {
    /// The last report of each account.
    by: HashMap<AccountId, Instant>,
    told: Option<Instant>,
}

impl FrameReports {
    /// Takes a report of `account` about `sender`. Returns the number of reporting accounts if moderators are to be told now.
    pub(super) fn take(&mut self, now: Instant, sender: u16, account: AccountId) -> Option<usize> {
        self.0.entry(sender).or_default().take(now, account)
    }

    /// Forgets the reports about a participant that has left.
    pub(super) fn forget(&mut self, sender: u16) {
        self.0.remove(&sender);
    }
}

impl Reports {
    fn take(&mut self, now: Instant, account: AccountId) -> Option<usize> {
        let before = self.by.get(&account);
        if before.is_some_and(|at| now.saturating_duration_since(*at) < REPORT_INTERVAL) {
            return None;
        }
        self.by
            .retain(|_, at| now.saturating_duration_since(*at) < REMEMBERED);
        self.by.insert(account, now);
        let is_due = self
            .told
            .is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EVERY);
        if !is_due || self.by.len() < ACCOUNTS {
            return None;
        }
        self.told = Some(now);
        Some(self.by.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_account_alone_is_not_believed_and_two_are_told_of_once_a_minute() {
        let start = Instant::now();
        let (ann, bob, cem) = (
            AccountId::new([1; 16]),
            AccountId::new([2; 16]),
            AccountId::new([3; 16]),
        );
        let mut reports = Reports::default();
        assert_eq!(reports.take(start, ann), None);
        assert_eq!(reports.take(start + Duration::from_secs(5), ann), None);
        let soon = start + Duration::from_millis(9999);
        assert_eq!(reports.take(soon, ann), None);
        assert_eq!(
            reports.by[&ann],
            start + Duration::from_secs(5),
            "it is not taken"
        );
        assert_eq!(reports.take(start + Duration::from_secs(6), bob), Some(2));
        assert_eq!(reports.take(start + Duration::from_secs(7), cem), None);
        assert_eq!(reports.take(start + Duration::from_secs(65), bob), None);
        assert_eq!(reports.take(start + Duration::from_secs(66), cem), Some(2));
        let later = start + Duration::from_secs(300);
        assert_eq!(reports.take(later, ann), None, "old reports are forgotten");
    }
}
