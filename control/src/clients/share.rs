//! What the connections of one account have together: they come from anywhere, so it is the account that is limited.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use confab_protocol::control::{AccountId, MAX_RESPONSE};
use tokio::sync::Semaphore;

/// Connections of an account at a node.
pub const MAX_CONNECTIONS: usize = 64;
/// Requests of an account that have begun to come and are not whole.
pub const MAX_UNFINISHED: usize = 128;
/// Those of them that are longer than most requests may be.
pub const MAX_LARGE: usize = 2;
/// Bytes of answers that an account has not taken: eight of the largest.
pub const MAX_UNREAD: usize = 8 * MAX_RESPONSE;
/// Statements of an account that the store carries out at a time.
pub const MAX_STATEMENTS: usize = 8;

/// What the connections of an account share, for as long as there are any, or requests of theirs.
pub struct Share {
    /// How many connections there are.
    connections: AtomicUsize,
    /// A permit for each request that is not whole.
    pub unfinished: Arc<Semaphore>,
    /// A permit for each of those that is long.
    pub large: Arc<Semaphore>,
    /// Answers that were not taken yet.
    pub unread: Budget,
    /// A permit for each statement.
    pub statements: Arc<Semaphore>,
}

/// A bound for bytes. Clones share it.
#[derive(Clone)]
pub struct Budget {
    limit: usize,
    used: Arc<AtomicUsize>,
}

/// Bytes of a budget; given back when dropped.
pub struct Reservation {
    bytes: usize,
    used: Arc<AtomicUsize>,
}

/// The shares of all accounts that have one.
#[derive(Default)]
pub struct Shares {
    by_account: HashMap<AccountId, Weak<Share>>,
    /// Looked at when there are so many.
    purge_at: usize,
}

/// A connection's part of its account's share; given back when dropped.
pub struct Part(Arc<Share>);

/// The account has as many connections as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Shares that are kept before those that nobody has any more are looked for.
const PURGE_AT_LEAST: usize = 1024;

impl Shares {
    /// A part for one more connection of the account.
    pub fn join(&mut self, account: AccountId) -> Result<Part, Full> {
        let share = match self.by_account.get(&account).and_then(Weak::upgrade) {
            Some(share) => share,
            None => {
                self.purge();
                let share = Arc::new(Share::new());
                self.by_account.insert(account, Arc::downgrade(&share));
                share
            }
        };
        if share.connections.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            share.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(Full);
        }
        Ok(Part(share))
    }

    fn purge(&mut self) {
        if self.by_account.len() >= self.purge_at {
            self.by_account.retain(|_, share| share.strong_count() > 0);
            self.purge_at = (2 * self.by_account.len()).max(PURGE_AT_LEAST);
        }
    }
}

impl Share {
    fn new() -> Self {
        Self {
            connections: AtomicUsize::new(0),
            unfinished: Arc::new(Semaphore::new(MAX_UNFINISHED)),
            large: Arc::new(Semaphore::new(MAX_LARGE)),
            unread: Budget::new(MAX_UNREAD),
            statements: Arc::new(Semaphore::new(MAX_STATEMENTS)),
        }
    }
}

impl Part {
    pub fn share(&self) -> &Arc<Share> {
        &self.0
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Budget {
    /// So many bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            used: Arc::default(),
        }
    }

    /// Takes so many of them; `None` when they are not there.
    pub fn reserve(&self, bytes: usize) -> Option<Reservation> {
        let spent = Reservation {
            bytes,
            used: self.used.clone(),
        };
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        (before + bytes <= self.limit).then_some(spent)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: AccountId = AccountId::new([1; 16]);

    #[test]
    fn the_connections_of_an_account_are_limited_and_released() {
        let mut shares = Shares::default();
        let mut parts: Vec<_> = (0..MAX_CONNECTIONS)
            .map(|_| shares.join(ANN).unwrap())
            .collect();
        assert_eq!(shares.join(ANN).err(), Some(Full));
        assert!(shares.join(AccountId::new([2; 16])).is_ok());
        parts.pop();
        assert!(shares.join(ANN).is_ok());
    }

    #[test]
    fn requests_that_outlive_the_last_connection_keep_the_share() {
        let mut shares = Shares::default();
        let part = shares.join(ANN).unwrap();
        let in_request = part.share().clone();
        drop(part);
        let again = shares.join(ANN).unwrap();
        assert!(Arc::ptr_eq(again.share(), &in_request));
        drop((again, in_request));
        for at in 0..10 * PURGE_AT_LEAST as u32 {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&at.to_be_bytes());
            shares.join(AccountId::new(id)).unwrap();
        }
        assert!(shares.by_account.len() <= PURGE_AT_LEAST);
    }

    #[test]
    fn a_budget_is_not_exceeded_and_reservations_are_released() {
        let budget = Budget::new(10);
        let first = budget.reserve(6).unwrap();
        assert!(budget.reserve(5).is_none());
        let second = budget.reserve(4).unwrap();
        assert!(budget.reserve(1).is_none());
        drop(first);
        assert!(budget.reserve(6).is_some());
        drop(second);
    }
}
