//! Tokens accepted during an outage of the store, to be verified when it answers again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use confab_protocol::control::AccountId;

use super::token::Token;
use crate::mutex::lock;
use crate::store::SessionId;

/// Maximum number of tokens, about 100 bytes each: the maximum of clients on a node. Beyond it sign-ins are refused.
const MAX_UNVERIFIED: usize = 1 << 17;

#[derive(Default)]
pub(super) struct UnverifiedTokens(Mutex<BTreeMap<(SessionId, u32), (AccountId, Token)>>);

impl UnverifiedTokens {
    /// Adds a token. Returns false if there is no room.
    pub(super) fn insert(&self, account: AccountId, token: &Token) -> bool {
        let (mut tokens, key) = (self.lock(), key(token));
        if tokens.len() >= MAX_UNVERIFIED && !tokens.contains_key(&key) {
            return false;
        }
        tokens.insert(key, (account, token.clone()));
        true
    }

    /// Any one token.
    pub(super) fn first(&self) -> Option<(AccountId, Token)> {
        self.lock().values().next().cloned()
    }

    /// Removes a verified token.
    pub(super) fn remove(&self, token: &Token) {
        self.lock().remove(&key(token));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(SessionId, u32), (AccountId, Token)>> {
        lock(&self.0)
    }
}

fn key(token: &Token) -> (SessionId, u32) {
    (token.session(), token.generation())
}
