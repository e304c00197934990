//! Reports that a participant's frames do not open: its keys are not the room's, or somebody else sends under its leaf. The
//! moderators are told when participants of two accounts say so, for one of bad will may say anything.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use confab_protocol::control::AccountId;
use confab_protocol::control::room::Role;

use super::effect::{ClientId, EventKind, OwnJoin};
use super::room::Room;

/// A report counts for so long.
const REMEMBERED: Duration = Duration::from_secs(60);
/// A further report of the same account about the same sender is not taken within this time.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// Accounts that have to report a sender.
const ACCOUNTS: usize = 2;
/// The moderators are told of a sender once in this time.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What has been reported of one sender.
#[derive(Default)]
pub(super) struct FrameReports {
    /// When each account reported it last.
    by: HashMap<AccountId, Instant>,
    told: Option<Instant>,
}

impl FrameReports {
    /// Takes a report in. The number of accounts that report the sender, when the moderators are to be told now.
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

impl Room {
    /// A client says that it cannot open the frames under a leaf.
    pub(super) fn frames_reported(&mut self, now: Instant, of: &OwnJoin, leaf: u32) {
        let Some(reporter) = self.find_own(of) else {
            return;
        };
        let mut participants = self.participants.values().map(|person| &person.participant);
        let Some((sender, account)) = participants
            .find(|participant| participant.leaf == Some(leaf))
            .map(|participant| (participant.sender, participant.account))
        else {
            return;
        };
        // What one's own devices say of each other is for nobody to judge.
        if sender == reporter || account == of.account {
            return;
        }
        let reports = self.frame_reports.entry(sender).or_default();
        let Some(accounts) = reports.take(now, of.account) else {
            return;
        };
        let accounts = u32::try_from(accounts).unwrap_or(u32::MAX);
        self.tell(
            self.moderators(),
            EventKind::FramesUnreadable(sender, accounts),
        );
    }

    /// The clients of those who moderate the room, each once.
    fn moderators(&self) -> Vec<ClientId> {
        let mut clients: Vec<_> = self
            .participants
            .values()
            .filter(|person| matches!(person.participant.role, Role::Owner | Role::Moderator))
            .filter_map(|person| person.client)
            .collect();
        clients.sort_unstable();
        clients.dedup();
        clients
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
        let mut reports = FrameReports::default();
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
