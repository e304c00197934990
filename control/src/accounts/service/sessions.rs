//! Creates, authenticates, refreshes and ends sessions.

use std::time::Duration;

use bytes::Bytes;
use confab_protocol::control::{AccountId, Device};

use super::{Accounts, Granted};
use crate::accounts::errors::{LoginError, RevokeError, SessionError};
use crate::accounts::token::{REFRESH_AFTER, Token, TokenStatus};
use crate::clock::UnixMillis;
use crate::random;
use crate::store::{
    AccountKind, AccountRecord, Recalled, Rotation, SessionId, SessionRecord, StoreError, ended_of,
};

/// Maximum number of sessions of an account; a log-in beyond it ends the oldest.
const MAX_SESSIONS: usize = 100;
/// Lifetime of a bot's session. A database expires no row later than after 20 years.
const BOT_TTL: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
/// Attempts of a refresh that conflicts with a concurrent one.
const ROTATE_ATTEMPTS: u32 = 3;

impl Accounts {
    /// Signs in by token.
    pub async fn authenticate(&self, token: &[u8]) -> Result<Granted, SessionError> {
        let token = self.key.open(token).ok_or(SessionError::Ended)?;
        let found = self.live_session(&token).await?;
        if found.from_memory {
            self.admit_from_memory(&token, &found.value)?;
            return self.granted(&found.value, None).await;
        }
        let session = found.value;
        match self.key.judge(&token, &session, self.clock.now()) {
            TokenStatus::Current => {
                if !session.used {
                    // If this fails, the previous token stays valid for the rest of its grace period.
                    match self.store.mark_used(session.id, session.generation).await {
                        Err(error) if !error.is_outage() => return Err(error.into()),
                        _ => {}
                    }
                }
            }
            TokenStatus::InGrace { .. } => {}
            TokenStatus::Stolen => return Err(self.revoke_stolen(&session).await),
        }
        self.granted(&session, None).await
    }

    /// Exchanges a token for its successor.
    pub async fn refresh(&self, token: &[u8]) -> Result<Granted, SessionError> {
        let token = self.key.open(token).ok_or(SessionError::Ended)?;
        for _ in 0..ROTATE_ATTEMPTS {
            let found = self.live_session(&token).await?;
            if found.from_memory {
                return self.keep_token(&token, &found.value).await;
            }
            let (mut session, now) = (found.value, self.clock.now());
            let account = self.account_of(&session).await?;
            if account.kind != AccountKind::Person {
                return Err(SessionError::NotExchanged);
            }
            match self.key.judge(&token, &session, now) {
                TokenStatus::Stolen => return Err(self.revoke_stolen(&session).await),
                TokenStatus::InGrace { successor } => {
                    return Ok(self.grant(account, &session, Some(&successor)));
                }
                TokenStatus::Current => {}
            }
            let successor = self.key.successor(&token).ok_or(SessionError::Ended)?;
            let rotation = Rotation {
                secret_hash: successor.secret_hash(),
                rotated: now,
                expires: now.after(self.session_ttl),
            };
            let rotated = self
                .store
                .rotate_session(session.id, token.generation(), rotation);
            match rotated.await {
                Ok(()) => {
                    session.generation = successor.generation();
                    session.rotated = now;
                    session.expires = rotation.expires;
                    return Ok(self.grant(account, &session, Some(&successor)));
                }
                // A concurrent refresh with the same token was faster. It created the same successor.
                Err(StoreError::Conflict) => {}
                Err(StoreError::NotFound) => return Err(SessionError::Ended),
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// True if the session has not ended; during an outage, by the cache. Call it after the connection is registered under the
    /// session: a later end of the session then finds the connection.
    pub async fn is_live(&self, session: SessionId) -> Result<bool, StoreError> {
        let found = self.store.recall_session(session, self.clock.now()).await?;
        Ok(found.is_some())
    }

    /// Returns those of the given sessions that have ended.
    pub async fn ended_of(&self, sessions: Vec<SessionId>) -> Result<Vec<SessionId>, StoreError> {
        ended_of(&self.store, &self.clock, sessions).await
    }

    /// The account's sessions, oldest first.
    pub async fn sessions(&self, account: AccountId) -> Result<Vec<SessionRecord>, StoreError> {
        self.store.sessions_of(account, self.clock.now()).await
    }

    /// Ends a session of the account.
    pub async fn revoke(&self, account: AccountId, session: SessionId) -> Result<(), RevokeError> {
        if !self.store.end_session(account, session).await? {
            // A repeated request whose first answer was lost has already ended the session.
            if self
                .store
                .session(session, self.clock.now())
                .await?
                .is_none()
            {
                (self.on_end)(account, session);
            }
            return Err(RevokeError::NoSuchSession);
        }
        (self.on_end)(account, session);
        Ok(())
    }

    /// Deletes expired sessions. Returns their number.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        self.store.sweep(self.clock.now()).await
    }

    /// Creates a session of an account whose password was just checked or set.
    pub(super) async fn begin_session(
        &self,
        account: AccountRecord,
        device: Device,
        cookie: Bytes,
    ) -> Result<Granted, LoginError> {
        let ttl = self.session_ttl;
        let (session, token) = self.open_session(account.id, device, ttl).await?;
        let now = session.created;
        let account = self.recheck_password(account, session.id).await?;
        self.end_oldest_beyond_limit(account.id, now).await?;
        Ok(Granted {
            cookie: Some(cookie),
            ..self.grant(account, &session, Some(&token))
        })
    }

    /// Begins the session of a bot. Returns its token.
    pub(super) async fn open_bot_session(&self, account: AccountId) -> Result<Bytes, StoreError> {
        let device = Device::default();
        let (_, token) = self.open_session(account, device, BOT_TTL).await?;
        Ok(self.key.seal(&token))
    }

    pub(super) async fn open_session(
        &self,
        account: AccountId,
        device: Device,
        ttl: Duration,
    ) -> Result<(SessionRecord, Token), StoreError> {
        let now = self.clock.now();
        let token = self
            .key
            .first(SessionId(random::time_ordered_id(now)), random::bytes());
        let session = SessionRecord {
            id: token.session(),
            account,
            generation: token.generation(),
            secret_hash: token.secret_hash(),
            // The first token has no predecessor in grace.
            used: true,
            device,
            created: now,
            rotated: now,
            expires: now.after(ttl),
        };
        self.store.create_session(session.clone()).await?;
        Ok((session, token))
    }

    /// Reads the account again. If the password was changed or the account disabled during the log-in, that ended every session but
    /// this one, which is ended here.
    async fn recheck_password(
        &self,
        checked: AccountRecord,
        session: SessionId,
    ) -> Result<AccountRecord, LoginError> {
        match self.store.account(checked.id).await? {
            Some(account) if account.password == checked.password && !account.disabled => {
                Ok(account)
            }
            _ => {
                self.store.end_session(checked.id, session).await?;
                Err(LoginError::WrongCredentials)
            }
        }
    }

    async fn end_oldest_beyond_limit(
        &self,
        account: AccountId,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let sessions = self.store.sessions_of(account, now).await?;
        let beyond = sessions.len().saturating_sub(MAX_SESSIONS);
        for session in &sessions[..beyond] {
            if self.store.end_session(account, session.id).await? {
                (self.on_end)(account, session.id);
            }
        }
        Ok(())
    }

    async fn live_session(&self, token: &Token) -> Result<Recalled<SessionRecord>, SessionError> {
        let found = self
            .store
            .recall_session(token.session(), self.clock.now())
            .await?;
        found.ok_or(SessionError::Ended)
    }

    async fn revoke_stolen(&self, session: &SessionRecord) -> SessionError {
        match self.end_stolen(session).await {
            Ok(()) => SessionError::Ended,
            Err(error) => error.into(),
        }
    }

    pub(super) async fn end_stolen(&self, session: &SessionRecord) -> Result<(), StoreError> {
        tracing::warn!(session = ?session.id, "an old token was used: the session is revoked");
        self.store.end_session(session.account, session.id).await?;
        (self.on_end)(session.account, session.id);
        Ok(())
    }

    pub(super) async fn granted(
        &self,
        session: &SessionRecord,
        token: Option<&Token>,
    ) -> Result<Granted, SessionError> {
        let account = self.account_of(session).await?;
        Ok(self.grant(account, session, token))
    }

    /// The session's account, unless it is disabled or deleted.
    async fn account_of(&self, session: &SessionRecord) -> Result<AccountRecord, SessionError> {
        let account = self.store.recall_account(session.account).await?;
        let account = account.ok_or(SessionError::Ended)?.value;
        match account.disabled {
            true => Err(SessionError::Ended),
            false => Ok(account),
        }
    }

    pub(super) fn grant(
        &self,
        account: AccountRecord,
        session: &SessionRecord,
        token: Option<&Token>,
    ) -> Granted {
        let refresh_after = match account.kind {
            AccountKind::Person => session.rotated.after(REFRESH_AFTER),
            AccountKind::Bot | AccountKind::Guest => session.expires,
        };
        Granted {
            account,
            session: session.id,
            token: token.map(|token| self.key.seal(token)),
            expires: session.expires,
            refresh_after,
            cookie: None,
        }
    }

    /// Ends the account's sessions except `keep` and calls `on_end` for each. Also calls it for sessions whose end is uncertain,
    /// because no one would repeat the request for them.
    pub(super) async fn end_all(
        &self,
        account: AccountId,
        keep: Option<SessionId>,
    ) -> Result<(), StoreError> {
        let listed = self.store.sessions_of(account, self.clock.now()).await?;
        let ended = self.store.end_sessions_of(account, keep).await;
        let to_tell = match &ended {
            Ok(ended) => ended.clone(),
            Err(_) => {
                let others = listed.iter().map(|session| session.id);
                others.filter(|id| Some(*id) != keep).collect()
            }
        };
        for session in to_tell {
            (self.on_end)(account, session);
        }
        ended.map(drop)
    }
}
