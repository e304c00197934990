//! Sign-in from cached sessions while the store does not answer, and their verification afterwards.

use std::time::Duration;

use super::{Accounts, Granted};
use crate::accounts::errors::SessionError;
use crate::accounts::token::{Token, TokenStatus};
use crate::store::{SessionId, SessionRecord, StoreError};

/// Retry time for a client whose token was not refreshed because the store did not answer.
const REFRESH_AGAIN_AFTER: Duration = Duration::from_secs(5 * 60);

impl Accounts {
    /// Has the store write something.
    pub async fn probe_store(&self) -> Result<(), StoreError> {
        self.store.probe_write().await
    }

    /// True if the last operation of the store succeeded.
    pub fn store_answers(&self) -> bool {
        self.store.is_answering()
    }

    /// Drops a session from the cache after another node has ended it.
    pub fn forget(&self, session: SessionId) {
        self.store.forget_session(session);
    }

    /// Drops all sessions from the cache: other nodes may have ended some without a notice to this one.
    pub fn forget_all(&self) {
        self.store.forget_sessions();
    }

    /// Verifies, as far as the store answers, the tokens that were accepted during an outage, and ends sessions that had no right
    /// to sign in.
    pub async fn verify_unverified(&self) {
        while let Some((account, token)) = self.unverified.first() {
            let now = self.clock.now();
            let proved = match self.store.session(token.session(), now).await {
                Ok(None) => {
                    (self.on_end)(account, token.session());
                    true
                }
                Ok(Some(session)) => match self.key.judge(&token, &session, now) {
                    TokenStatus::Current | TokenStatus::InGrace { .. } => true,
                    TokenStatus::Stolen => self.end_stolen(&session).await.is_ok(),
                },
                Err(_) => false,
            };
            if !proved {
                return;
            }
            self.unverified.remove(&token);
        }
    }

    /// Accepts a token by the cached session. Only the newest token known here is accepted: the store decides whether an older
    /// one is in grace or stolen. A token that another node has exchanged since may pass until [`Self::verify_unverified`] finds
    /// it.
    pub(super) fn admit_from_memory(
        &self,
        token: &Token,
        session: &SessionRecord,
    ) -> Result<(), StoreError> {
        let later = |why: &str| StoreError::Unavailable(why.to_owned());
        if !matches!(
            self.key.judge(token, session, self.clock.now()),
            TokenStatus::Current
        ) {
            if token.generation() > session.generation {
                // Another node has exchanged the token; the cached session would accept the previous one.
                self.store.forget_session(session.id);
            }
            return Err(later("the token differs from the cached session"));
        }
        match self.unverified.insert(session.account, token) {
            true => Ok(()),
            false => Err(later("too many sign-ins from cached sessions")),
        }
    }

    /// A refresh during an outage: the token does not change.
    pub(super) async fn keep_token(
        &self,
        token: &Token,
        session: &SessionRecord,
    ) -> Result<Granted, SessionError> {
        self.admit_from_memory(token, session)?;
        let granted = self.granted(session, Some(token)).await?;
        Ok(Granted {
            refresh_after: self.clock.now().after(REFRESH_AGAIN_AFTER),
            ..granted
        })
    }
}
