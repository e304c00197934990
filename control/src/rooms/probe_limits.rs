//! Limits the reports of silent relays: each starts a probe of all participants, and a hostile member may send any number.

use std::collections::HashMap;
use std::time::Instant;

use confab_protocol::control::AccountId;

use crate::throttle::{Bucket, Rate};

/// Reports of one account.
const OF_ACCOUNT: Rate = Rate {
    burst: 2.0,
    per_second: 0.1,
};
/// The rate of reports of all accounts in a room.
const OF_ROOM: Rate = Rate {
    burst: 4.0,
    per_second: 0.2,
};
/// Most accounts whose reports are counted; reports of further accounts are ignored.
const MAX_ACCOUNTS: usize = 4096;

/// What is left of both, for one room.
#[derive(Default)]
pub(super) struct ProbeLimits {
    accounts: HashMap<AccountId, Bucket>,
    room: Option<Bucket>,
}

impl ProbeLimits {
    /// Whether a report of the account starts a probe now.
    pub(super) fn take(&mut self, now: Instant, account: AccountId) -> bool {
        if self.accounts.len() >= MAX_ACCOUNTS {
            self.accounts.retain(|_, bucket| !bucket.is_full(now));
            if self.accounts.len() >= MAX_ACCOUNTS && !self.accounts.contains_key(&account) {
                return false;
            }
        }
        let of_account = self.accounts.entry(account);
        let of_account = of_account.or_insert_with(|| Bucket::new(OF_ACCOUNT, now));
        let of_room = self.room.get_or_insert_with(|| Bucket::new(OF_ROOM, now));
        of_account.take(now).is_ok() && of_room.take(now).is_ok()
    }
}
