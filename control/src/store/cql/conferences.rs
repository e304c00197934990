//! Conferences and their slugs.

use confab_protocol::control::room::Role;
use confab_protocol::control::{AccountId, ConferenceId, Slug};

use super::accounts::GONE_TTL;
use super::cas_table::Swapped;
use super::conference_row::{ClosingConference, ConferenceRow};
use super::core::{Core, ROUNDS};
use super::journal::Work;
use super::keys::{self, BUCKETS, ListEntry};
use super::packed::{self, State};
use crate::clock::UnixMillis;
use crate::store::batch::join_all;
use crate::store::{ConferenceChange, ConferenceRecord, Name, Standing, StoreError};

impl Core {
    pub(super) async fn create_conference(
        &self,
        conference: &ConferenceRecord,
    ) -> Result<(), StoreError> {
        if !self.is_account(conference.owner).await? {
            return Err(StoreError::NotFound);
        }
        let work = Work::CreateConference(conference.into());
        let note = self
            .journal
            .begin(&self.db, work, conference.created)
            .await?;
        let outcome = self.claim_and_open(conference).await;
        match &outcome {
            Ok(()) => {}
            Err(StoreError::Taken(_) | StoreError::Conflict) => {
                self.abandon_conference(&conference.into()).await?;
            }
            Err(StoreError::NotFound) => self.close_conference(conference.id).await?,
            Err(_) => return outcome,
        }
        let _ = self.journal.end(&self.db, &note).await;
        outcome
    }

    async fn claim_and_open(&self, conference: &ConferenceRecord) -> Result<(), StoreError> {
        let (id, slug) = (conference.id.as_bytes(), conference.slug.as_str());
        self.claim(Name::Slug, slug, id).await?;
        let entry = ListEntry::of(&conference.into(), conference.owner);
        let standing = Standing::first(Role::Owner, conference.created);
        // An earlier attempt may have written these already.
        self.add_to_list(&entry, standing.since).await?;
        let standing = packed::standing(standing);
        self.members
            .put(&self.db, &entry.member_key(), None, &standing, 0)
            .await?;
        let (key, live) = (keys::id(id), ConferenceRow::live(conference));
        let opened = self.conferences.put(&self.db, &key, None, &live, 0);
        if let Swapped::Found(found) = opened.await?
            && ConferenceRow::state(found.as_ref())? != Some(State::Live)
        {
            return Err(StoreError::Conflict);
        }
        // Checked last: the deletion of an account closes it first, then reads the conferences that it owns.
        if self.is_account(conference.owner).await? {
            Ok(())
        } else {
            Err(StoreError::NotFound)
        }
    }

    /// Gives up a conference that was not finished. Returns true if it was finished meanwhile.
    pub(super) async fn abandon_conference(
        &self,
        conference: &ClosingConference,
    ) -> Result<bool, StoreError> {
        let key = keys::id(conference.id.as_bytes());
        let closing = ConferenceRow::closing(conference);
        let closed = self.conferences.put(&self.db, &key, None, &closing, 0);
        match closed.await? {
            Swapped::Done => self.finish_closing_conference(conference).await?,
            Swapped::Found(found) => match ConferenceRow::state(found.as_ref())? {
                // Its creator may have crashed before the last check.
                Some(State::Live) => match self.account_state(conference.owner).await? {
                    Some(State::Live) => return Ok(true),
                    // The owner becomes live again or closing: decided by a later sweep.
                    Some(State::Held) => {}
                    _ => self.close_conference(conference.id).await?,
                },
                Some(State::Closing) => self.finish_closing_conference(conference).await?,
                _ => self.remove_dependents(conference).await?,
            },
        }
        Ok(false)
    }

    pub(super) async fn change_conference(
        &self,
        id: ConferenceId,
        owner: AccountId,
        change: ConferenceChange,
    ) -> Result<ConferenceRecord, StoreError> {
        let changed = |record: &ConferenceRecord| match record.owner == owner {
            true => Ok(change.applied_to(record)),
            false => Err(StoreError::Conflict),
        };
        self.rewrite_conference(id, changed).await
    }

    /// Replaces the row of a live conference by what `rewrite` makes of its record, and returns the record as it is then. `rewrite` is
    /// asked again if somebody else changed the row meanwhile; `None` leaves it as it is.
    pub(super) async fn rewrite_conference(
        &self,
        id: ConferenceId,
        rewrite: impl Fn(&ConferenceRecord) -> Result<Option<ConferenceRecord>, StoreError> + Send,
    ) -> Result<ConferenceRecord, StoreError> {
        let key = keys::id(id.as_bytes());
        let mut found = self.conferences.read(&self.db, &key).await?;
        for _ in 0..ROUNDS {
            let row = match (ConferenceRow::state(found.as_ref())?, &found) {
                (Some(State::Live), Some(row)) => row,
                _ => return Err(StoreError::NotFound),
            };
            let record = row.read(id)?;
            let Some(changed) = rewrite(&record)? else {
                return Ok(record);
            };
            let new = ConferenceRow::live(&changed);
            let written = self.conferences.put(&self.db, &key, Some(row), &new, 0);
            found = match written.await? {
                Swapped::Done => return Ok(changed),
                Swapped::Found(other) => other,
            };
        }
        Err(StoreError::Conflict)
    }

    pub(super) async fn delete_conference(
        &self,
        id: ConferenceId,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        if matches!(self.conference_state(id).await?, None | Some(State::Gone)) {
            return Ok(());
        }
        let work = Work::DeleteConference(id);
        let note = self.journal.begin(&self.db, work, now).await?;
        self.close_conference(id).await?;
        let _ = self.journal.end(&self.db, &note).await;
        Ok(())
    }

    /// Closes the conference and removes all that belongs to it. It may be repeated from any point.
    pub(super) async fn close_conference(&self, id: ConferenceId) -> Result<(), StoreError> {
        let key = keys::id(id.as_bytes());
        let mut found = self.conferences.read(&self.db, &key).await?;
        for _ in 0..ROUNDS {
            let value = match (ConferenceRow::state(found.as_ref())?, &found) {
                (Some(State::Live), Some(value)) => value,
                (Some(State::Closing), Some(value)) => {
                    let conference = value.read_closing(id)?;
                    return self.finish_closing_conference(&conference).await;
                }
                _ => return Ok(()),
            };
            let closing = ConferenceRow::closing(&value.read_closing(id)?);
            let closed = self
                .conferences
                .put(&self.db, &key, Some(value), &closing, 0);
            found = match closed.await? {
                Swapped::Done => Some(closing),
                Swapped::Found(other) => other,
            };
        }
        Err(StoreError::Conflict)
    }

    async fn finish_closing_conference(
        &self,
        conference: &ClosingConference,
    ) -> Result<(), StoreError> {
        self.remove_dependents(conference).await?;
        let key = keys::id(conference.id.as_bytes());
        let found = self.conferences.read(&self.db, &key).await?;
        let state = ConferenceRow::state(found.as_ref())?;
        if let (Some(State::Closing), Some(row)) = (state, &found) {
            let gone = ConferenceRow::gone();
            self.conferences
                .put(&self.db, &key, Some(row), &gone, GONE_TTL)
                .await?;
        }
        Ok(())
    }

    async fn remove_dependents(&self, conference: &ClosingConference) -> Result<(), StoreError> {
        self.remove_all_members(conference).await?;
        self.remove_all_invitations(conference.id).await?;
        self.remove_all_guest_bans(conference.id).await?;
        // A conference that was not finished may be in its owner's list without a standing.
        let entry = ListEntry::of(conference, conference.owner);
        self.remove_from_list(&entry, conference.created).await?;
        let id = conference.id.as_bytes();
        self.free(Name::Slug, conference.slug.as_str(), id).await
    }

    pub(super) async fn conference(
        &self,
        id: ConferenceId,
    ) -> Result<Option<ConferenceRecord>, StoreError> {
        let key = keys::id(id.as_bytes());
        let found = self.conferences.read(&self.db, &key).await?;
        match (ConferenceRow::state(found.as_ref())?, found) {
            (Some(State::Live), Some(row)) => row.read(id).map(Some),
            _ => Ok(None),
        }
    }

    pub(super) async fn conference_by_slug(
        &self,
        slug: &Slug,
    ) -> Result<Option<ConferenceRecord>, StoreError> {
        match self.holder(Name::Slug, slug.as_str()).await? {
            None => Ok(None),
            Some(id) => self.conference(ConferenceId::new(id)).await,
        }
    }

    pub(super) async fn conference_state(
        &self,
        id: ConferenceId,
    ) -> Result<Option<State>, StoreError> {
        let key = keys::id(id.as_bytes());
        let found = self.conferences.read(&self.db, &key).await?;
        ConferenceRow::state(found.as_ref())
    }

    pub(super) async fn count_owned(&self, account: AccountId) -> Result<u64, StoreError> {
        Ok(self.owned(account).await?.len() as u64)
    }

    /// Whether the account owns a conference, or may come to own one.
    pub(super) async fn owns_conference(&self, account: AccountId) -> Result<bool, StoreError> {
        for conference in self.owned(account).await? {
            match self.conference_state(conference).await? {
                Some(State::Closing | State::Gone) => {}
                // Without a row it is being created, or was never finished: a sweep decides.
                Some(State::Live | State::Held) | None => return Ok(true),
            }
        }
        Ok(false)
    }

    async fn remove_all_members(&self, conference: &ClosingConference) -> Result<(), StoreError> {
        for bucket in 0..BUCKETS {
            let mut last = Vec::new();
            loop {
                let rows = self
                    .members_after(conference.id, bucket, &last, CHUNK)
                    .await?;
                let standings = rows
                    .iter()
                    .filter_map(|(account, value)| Some((*account, value.clone()?)));
                let removals = standings.map(|(account, value)| async move {
                    let entry = ListEntry::of(conference, account);
                    self.remove_entry_then_member(&entry, value).await
                });
                for removed in join_all(removals).await {
                    removed?;
                }
                match rows.last() {
                    Some((account, _)) if rows.len() == CHUNK as usize => {
                        last = account.as_bytes().to_vec();
                    }
                    _ => break,
                }
            }
        }
        Ok(())
    }
}

/// Members that are removed at a time.
const CHUNK: u32 = 16;
