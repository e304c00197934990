//! Passwords that were changed a moment ago, and by which sessions: a client that lost the answer repeats its request, whose old
//! password is then wrong.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use confab_protocol::control::AccountId;

use crate::mutex::lock;
use crate::store::SessionId;

/// The time in which a client repeats a request.
const REPEATED_WITHIN: Duration = Duration::from_secs(60);

/// The last change of each account's password within [`REPEATED_WITHIN`].
#[derive(Default)]
pub(super) struct RecentChanges(Mutex<HashMap<AccountId, (SessionId, Instant)>>);

impl RecentChanges {
    /// The session has changed the account's password. Forgets changes that are too old.
    pub(super) fn note(&self, account: AccountId, session: SessionId, now: Instant) {
        let mut changes = lock(&self.0);
        changes.retain(|_, (_, at)| is_recent(*at, now));
        changes.insert(account, (session, now));
    }

    /// Whether the last change of the account's password is recent and of this session.
    pub(super) fn is_by(&self, account: AccountId, session: SessionId, now: Instant) -> bool {
        let changes = lock(&self.0);
        changes
            .get(&account)
            .is_some_and(|(by, at)| *by == session && is_recent(*at, now))
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < REPEATED_WITHIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_known_to_its_session_for_a_minute() {
        let (ann, ben) = (AccountId::new([1; 16]), AccountId::new([2; 16]));
        let (one, other) = (SessionId([3; 16]), SessionId([4; 16]));
        let (changes, now) = (RecentChanges::default(), Instant::now());
        changes.note(ann, one, now);
        let later = now + REPEATED_WITHIN;
        assert!(changes.is_by(ann, one, later - Duration::from_millis(1)));
        assert!(!changes.is_by(ann, one, later));
        assert!(!changes.is_by(ann, other, now));
        assert!(!changes.is_by(ben, one, now));
        changes.note(ben, other, later);
        assert_eq!(lock(&changes.0).len(), 1);
    }
}
