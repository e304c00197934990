//! Whose fault it is when members cannot process a commit that passed the public checks.
//!
//! The public side shows neither the membership and confirmation tags nor what is encrypted to members. So a committer can
//! make a commit that all, or some, cannot process; and a member can say that it could not.

use std::collections::{BTreeMap, BTreeSet};

use confab_protocol::control::{AccountId, JoinId};

/// Failures by this many accounts bar a committer.
const STRIKES: usize = 2;

/// Epochs whose failures are remembered.
const REMEMBERED: usize = 64;

/// Who failed under which commit.
#[derive(Debug, Default)]
pub(super) struct Blame {
    committers: BTreeMap<u64, JoinId>,
    failed: BTreeMap<u64, BTreeSet<AccountId>>,
    /// Accounts that failed under commits of a committer.
    strikes: BTreeMap<JoinId, BTreeSet<AccountId>>,
}

/// What follows from a failure.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// May not commit any more.
    pub(super) barred: Option<JoinId>,
    /// Too many are lost: a new group has to begin.
    pub(super) is_group_lost: bool,
}

impl Blame {
    /// `committer` made the commit that leads to `epoch`.
    pub(super) fn committed(&mut self, epoch: u64, committer: JoinId) {
        self.committers.insert(epoch, committer);
        while self.committers.len() > REMEMBERED {
            if let Some((epoch, _)) = self.committers.pop_first() {
                self.failed.remove(&epoch);
            }
        }
    }

    /// Who made the commit that leads to `epoch`.
    pub(super) fn committer(&self, epoch: u64) -> Option<JoinId> {
        self.committers.get(&epoch).copied()
    }

    /// How many accounts could not process commits of `committer`.
    pub(super) fn strikes(&self, committer: JoinId) -> usize {
        self.strikes.get(&committer).map_or(0, BTreeSet::len)
    }

    /// A member of `account` could not get to `epoch`. `accounts` have leaves in it.
    pub(super) fn failed(&mut self, epoch: u64, account: AccountId, accounts: usize) -> Verdict {
        let Some(committer) = self.committer(epoch) else {
            return Verdict::default();
        };
        let failed = self.failed.entry(epoch).or_default();
        failed.insert(account);
        let is_group_lost = failed.len() * 2 >= accounts.max(1);
        let strikes = self.strikes.entry(committer).or_default();
        strikes.insert(account);
        let is_barred = is_group_lost || strikes.len() >= STRIKES;
        Verdict {
            barred: is_barred.then_some(committer),
            is_group_lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(n: u8) -> AccountId {
        AccountId::new([n; 16])
    }

    const COMMITTER: JoinId = JoinId::new([9; 16]);

    #[test]
    fn one_account_of_many_cannot_bar_a_committer() {
        let mut blame = Blame::default();
        for epoch in 1..10 {
            blame.committed(epoch, COMMITTER);
            assert_eq!(blame.failed(epoch, account(1), 10), Verdict::default());
        }
    }

    #[test]
    fn two_accounts_bar_a_committer() {
        let mut blame = Blame::default();
        blame.committed(1, COMMITTER);
        blame.committed(2, COMMITTER);
        assert_eq!(blame.failed(1, account(1), 10).barred, None);
        assert_eq!(
            blame.failed(2, account(2), 10),
            Verdict {
                barred: Some(COMMITTER),
                is_group_lost: false
            }
        );
    }

    #[test]
    fn half_of_the_accounts_lose_the_group() {
        let mut blame = Blame::default();
        blame.committed(1, COMMITTER);
        assert!(!blame.failed(1, account(1), 4).is_group_lost);
        assert!(!blame.failed(1, account(1), 4).is_group_lost);
        assert!(blame.failed(1, account(2), 4).is_group_lost);
    }
}
