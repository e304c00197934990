//! Sessions: rows that expire in the database, and a list of them for each account.

use confab_protocol::control::AccountId;

use super::cas_table::Swapped;
use super::core::{Core, ROUNDS};
use super::keys;
use super::packed;
use super::session_lists::{CHUNK, ttl};
use crate::clock::UnixMillis;
use crate::store::batch::join_all;
use crate::store::{Rotation, SessionId, SessionRecord, StoreError};

impl Core {
    pub(super) async fn create_session(&self, session: &SessionRecord) -> Result<(), StoreError> {
        self.session_lists.add(&self.db, session).await?;
        let (key, row) = (keys::id(&session.id.0), packed::session(session));
        self.sessions
            .put(&self.db, &key, None, &row, ttl(session))
            .await?;
        // Checked last: the deletion of an account closes it first, then ends the sessions that it finds.
        if self.is_account(session.account).await? {
            return Ok(());
        }
        self.end_session(session.account, session.id).await?;
        Err(StoreError::NotFound)
    }

    pub(super) async fn session(
        &self,
        id: SessionId,
        now: UnixMillis,
    ) -> Result<Option<SessionRecord>, StoreError> {
        let Some(value) = self.sessions.read(&self.db, &keys::id(&id.0)).await? else {
            return Ok(None);
        };
        let session = packed::read_session(id, &value)?;
        Ok((session.expires > now).then_some(session))
    }

    pub(super) async fn rotate_session(
        &self,
        id: SessionId,
        presented: u32,
        rotation: Rotation,
    ) -> Result<(), StoreError> {
        let next = presented.checked_add(1).ok_or(StoreError::Conflict)?;
        let key = keys::id(&id.0);
        let mut found = self.sessions.read(&self.db, &key).await?;
        for _ in 0..ROUNDS {
            let value = found.ok_or(StoreError::NotFound)?;
            let session = packed::read_session(id, &value)?;
            if session.generation == next && session.secret_hash == rotation.secret_hash {
                return Ok(());
            }
            if session.generation != presented {
                return Err(StoreError::Conflict);
            }
            let moved_on = SessionRecord {
                generation: next,
                secret_hash: rotation.secret_hash,
                used: false,
                rotated: rotation.rotated,
                expires: rotation.expires,
                ..session
            };
            // First, so that no session outlives its entry in the list.
            self.session_lists.add(&self.db, &moved_on).await?;
            let new = packed::session(&moved_on);
            let swapped = self
                .sessions
                .put(&self.db, &key, Some(&value), &new, ttl(&moved_on));
            match swapped.await? {
                Swapped::Done => return Ok(()),
                Swapped::Found(other) => found = other,
            }
        }
        Err(StoreError::Conflict)
    }

    pub(super) async fn mark_used(&self, id: SessionId, generation: u32) -> Result<(), StoreError> {
        let key = keys::id(&id.0);
        let Some(value) = self.sessions.read(&self.db, &key).await? else {
            return Ok(());
        };
        let session = packed::read_session(id, &value)?;
        if session.generation != generation || session.used {
            return Ok(());
        }
        let used = SessionRecord {
            used: true,
            ..session
        };
        let new = packed::session(&used);
        // A concurrent write that was first has rotated, marked or ended it.
        self.sessions
            .put(&self.db, &key, Some(&value), &new, ttl(&used))
            .await
            .map(drop)
    }

    pub(super) async fn end_session(
        &self,
        account: AccountId,
        id: SessionId,
    ) -> Result<bool, StoreError> {
        let key = keys::id(&id.0);
        let mut found = self.sessions.read(&self.db, &key).await?;
        let was_there = found.is_some();
        while let Some(value) = found {
            if packed::read_session(id, &value)?.account != account {
                return Ok(false);
            }
            let swapped = self.sessions.remove(&self.db, &key, &value);
            found = match swapped.await? {
                Swapped::Done => None,
                Swapped::Found(other) => other,
            };
        }
        // Last: a session that is not in the list cannot be found.
        self.session_lists.remove(&self.db, account, id).await?;
        Ok(was_there)
    }

    pub(super) async fn sessions_of(
        &self,
        account: AccountId,
        now: UnixMillis,
    ) -> Result<Vec<SessionRecord>, StoreError> {
        let (mut sessions, mut last) = (Vec::new(), Vec::new());
        loop {
            let ids = self.session_lists.list(&self.db, account, last).await?;
            let reads = ids.iter().map(|id| self.session(*id, now));
            for session in join_all(reads).await {
                // The entry may have outlived its session, or the id may be another account's.
                sessions.extend(session?.filter(|session| session.account == account));
            }
            match ids.last() {
                Some(id) if ids.len() == CHUNK => last = id.0.to_vec(),
                _ => break,
            }
        }
        sessions.sort_by_key(|session| (session.created, session.id));
        Ok(sessions)
    }

    pub(super) async fn end_sessions_of(
        &self,
        account: AccountId,
        keep: Option<SessionId>,
    ) -> Result<Vec<SessionId>, StoreError> {
        let (mut ended, mut last) = (Vec::new(), Vec::new());
        loop {
            let ids = self.session_lists.list(&self.db, account, last).await?;
            let mut goes: Vec<_> = ids.iter().filter(|id| Some(**id) != keep).collect();
            let ends = goes.iter().map(|id| self.end_session(account, **id));
            let outcomes: Result<Vec<bool>, _> = join_all(ends).await.into_iter().collect();
            let mut was_there = outcomes?.into_iter();
            goes.retain(|_| was_there.next().unwrap_or_default());
            ended.extend(goes.into_iter().copied());
            match ids.last() {
                Some(id) if ids.len() == CHUNK => last = id.0.to_vec(),
                _ => return Ok(ended),
            }
        }
    }
}
