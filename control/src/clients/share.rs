//! Limits that the connections of one account share, since an account may connect from many addresses.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use confab_protocol::control::{AccountId, MAX_RESPONSE};
use tokio::sync::Semaphore;

/// Maximum number of connections of an account at a node.
pub const MAX_CONNECTIONS: usize = 64;
/// Maximum number of incomplete requests of an account.
pub const MAX_UNFINISHED: usize = 128;
/// Maximum number of these that are long.
pub const MAX_LARGE: usize = 2;
/// Maximum of unread response bytes of an account: eight of the largest responses.
pub const MAX_UNREAD: usize = 8 * MAX_RESPONSE;
/// Maximum number of concurrent store operations of an account.
pub const MAX_STATEMENTS: usize = 8;

/// The shared limits of an account. They exist while the account has connections or requests.
pub struct Share {
    /// Number of connections.
    connections: AtomicUsize,
    /// One permit for each incomplete request.
    pub unfinished: Arc<Semaphore>,
    /// One permit for each of these that is long.
    pub large: Arc<Semaphore>,
    /// Budget of unread response bytes.
    pub unread: Budget,
    /// One permit for each store operation.
    pub statements: Arc<Semaphore>,
}

/// A budget of bytes. Clones share it.
#[derive(Clone)]
pub struct Budget {
    limit: usize,
    used: Arc<AtomicUsize>,
}

/// Bytes reserved from a budget. Dropping it releases them.
pub struct Reservation {
    bytes: usize,
    used: Arc<AtomicUsize>,
}

/// The shares of all connected accounts.
#[derive(Default)]
pub struct Shares {
    by_account: HashMap<AccountId, Weak<Share>>,
    /// Number of shares at which unused ones are purged.
    purge_at: usize,
}

/// Counts one connection of an account. Dropping it ends that.
pub struct Part(Arc<Share>);

/// The account has its maximum of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Minimum number of shares before unused ones are purged.
const PURGE_AT_LEAST: usize = 1024;

impl Shares {
    /// Counts one more connection of the account.
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
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            used: Arc::default(),
        }
    }

    /// Reserves `bytes`; `None` if the budget has fewer left.
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
