//! Signing in while the store does not answer, and what is done about it when it does again.

use std::time::Duration;

use super::{Accounts, Granted};
use crate::accounts::errors::SessionError;
use crate::accounts::token::{Token, TokenStatus};
use crate::store::{SessionId, SessionRecord, StoreError};

/// A client whose token could not be exchanged because the store did not answer is to try again after this time.
const REFRESH_AGAIN_AFTER: Duration = Duration::from_secs(5 * 60);

impl Accounts {
    /// Whether the store answered when it was asked last.
    pub fn store_answers(&self) -> bool {
        self.store.is_answering()
    }

    /// The session has ended at another node.
    pub fn forget(&self, session: SessionId) {
        self.store.forget_session(session);
    }

    /// Sessions may have ended at other nodes, and this one was not told which.
    pub fn forget_all(&self) {
        self.store.forget_sessions();
    }

    /// Looks up whether those who were let in while the store did not answer had a right to it, as far as it answers now.
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

    /// Lets somebody in by what is remembered of the session. Only its newest token counts then: whether an older one is in
    /// grace, or stolen, is for the store to say. One that was exchanged at another node since may pass, until
    /// [`Self::verify_unverified`] finds out.
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
                // It was exchanged at another node: what is remembered would take the token before for good.
                self.store.forget_session(session.id);
            }
            return Err(later("a token that is not the one remembered was shown"));
        }
        match self.unverified.insert(session.account, token) {
            true => Ok(()),
            false => Err(later("as many as may be were let in from memory")),
        }
    }

    /// A refresh while the store does not answer: the token stays as it is for now.
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
