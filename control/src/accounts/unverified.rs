//! Tokens that were taken for good while the store did not answer, to be looked up when it does.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use confab_protocol::control::AccountId;

use super::token::Token;
use crate::store::SessionId;

/// Tokens at most, of some 100 bytes each: as many as people connect to a node. Beyond them nobody is let in.
const MAX_UNVERIFIED: usize = 1 << 17;

/// The tokens.
#[derive(Default)]
pub(super) struct UnverifiedTokens(Mutex<BTreeMap<(SessionId, u32), (AccountId, Token)>>);

impl UnverifiedTokens {
    /// Keeps the token; false when there is no room for it.
    pub(super) fn insert(&self, account: AccountId, token: &Token) -> bool {
        let (mut tokens, key) = (self.lock(), key(token));
        if tokens.len() >= MAX_UNVERIFIED && !tokens.contains_key(&key) {
            return false;
        }
        tokens.insert(key, (account, token.clone()));
        true
    }

    /// One of them.
    pub(super) fn first(&self) -> Option<(AccountId, Token)> {
        self.lock().values().next().cloned()
    }

    /// The token has been looked up.
    pub(super) fn remove(&self, token: &Token) {
        self.lock().remove(&key(token));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(SessionId, u32), (AccountId, Token)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(token: &Token) -> (SessionId, u32) {
    (token.session(), token.generation())
}
