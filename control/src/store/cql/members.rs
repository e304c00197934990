//! Standings: a row in the conference's partition, and an entry in the account's list.

use confab_protocol::control::{AccountId, ConferenceId};

use super::cas_table::Swapped;
use super::core::{Core, ROUNDS};
use super::keys::{self, ListEntry};
use super::lists::CHUNK;
use super::packed;
use super::rows::Packed;
use crate::clock::UnixMillis;
use crate::store::batch::join_all;
use crate::store::{Standing, StoreError};

impl Core {
    pub(super) async fn member(
        &self,
        conference: ConferenceId,
        account: AccountId,
    ) -> Result<Option<Standing>, StoreError> {
        let key = keys::member(conference, account);
        let found = self.members.read(&self.db, &key).await?;
        found.as_ref().map(packed::read_standing).transpose()
    }

    pub(super) async fn add_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        standing: Standing,
    ) -> Result<(), StoreError> {
        let value = packed::standing(standing);
        let key = keys::member(conference, account);
        let (record, is_account, found) = tokio::join!(
            self.conference(conference),
            self.is_account(account),
            self.members.read(&self.db, &key),
        );
        let Some(record) = record? else {
            return Err(StoreError::NotFound);
        };
        if !is_account? {
            return Err(StoreError::NotFound);
        }
        if found?.is_some_and(|found| found != value) {
            return Err(StoreError::Conflict);
        }
        let entry = ListEntry::of(&(&record).into(), account);
        self.add_to_list(&entry, standing.since).await?;
        let added = self.members.put(&self.db, &key, None, &value, 0);
        if let Swapped::Found(found) = added.await? {
            // A concurrent write was first, and the entry must have the time of its standing.
            if let Some(other) = found {
                let since = packed::read_standing(&other)?.since;
                let (mine, theirs) = (packed::listed(standing.since), packed::listed(since));
                self.users
                    .put(&self.db, &entry.key(), Some(&mine), &theirs, 0)
                    .await?;
            }
            return Err(StoreError::Conflict);
        }
        // Checked last: a deletion of either closes it first, then removes the standings that it finds.
        let (is_conference, is_account) =
            tokio::join!(self.conference(conference), self.is_account(account));
        if is_conference?.is_some() && is_account? {
            return Ok(());
        }
        self.remove_member_then_entry(&entry, value).await?;
        Err(StoreError::NotFound)
    }

    pub(super) async fn change_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Standing,
        new: Standing,
    ) -> Result<(), StoreError> {
        let key = keys::member(conference, account);
        let (old, new) = (packed::standing(old), packed::standing(new));
        let written = self.members.put(&self.db, &key, Some(&old), &new, 0);
        match written.await? {
            Swapped::Done => Ok(()),
            Swapped::Found(None) => Err(StoreError::NotFound),
            Swapped::Found(Some(_)) => Err(StoreError::Conflict),
        }
    }

    pub(super) async fn remove_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Standing,
    ) -> Result<(), StoreError> {
        let key = keys::member(conference, account);
        if self.members.read(&self.db, &key).await?.is_none() {
            return Err(StoreError::NotFound);
        }
        let row = packed::standing(old);
        if let Swapped::Found(_) = self.members.remove(&self.db, &key, &row).await? {
            return Err(StoreError::Conflict);
        }
        // Last: a standing without an entry would outlive its account.
        if let Some(record) = self.conference(conference).await? {
            let entry = ListEntry::of(&(&record).into(), account);
            self.remove_from_list(&entry, old.since).await?;
        }
        Ok(())
    }

    /// Adds the conference to the account's list, for a standing since `since`.
    pub(super) async fn add_to_list(
        &self,
        entry: &ListEntry,
        since: UnixMillis,
    ) -> Result<(), StoreError> {
        let (key, new) = (entry.key(), packed::listed(since));
        let mut old = None;
        for _ in 0..ROUNDS {
            let written = self.users.put(&self.db, &key, old.as_ref(), &new, 0);
            match written.await? {
                Swapped::Done => return Ok(()),
                Swapped::Found(other) => old = other,
            }
        }
        Err(StoreError::Conflict)
    }

    /// Removes the conference from the account's list, unless the entry belongs to a newer standing.
    pub(super) async fn remove_from_list(
        &self,
        entry: &ListEntry,
        since: UnixMillis,
    ) -> Result<(), StoreError> {
        self.users
            .remove(&self.db, &entry.key(), &packed::listed(since))
            .await
            .map(drop)
    }

    /// Removes the standing, in whatever state, and then the entry: for the deletion of the account, which reads the list.
    async fn remove_member_then_entry(
        &self,
        entry: &ListEntry,
        value: Packed,
    ) -> Result<(), StoreError> {
        let mut found = Some(value);
        while let Some(value) = found {
            let since = packed::read_standing(&value)?.since;
            found = self.remove_standing(entry, &value).await?;
            self.remove_from_list(entry, since).await?;
        }
        Ok(())
    }

    /// Removes the entry, and then the standing: for the deletion of the conference, which reads the standings.
    pub(super) async fn remove_entry_then_member(
        &self,
        entry: &ListEntry,
        value: Packed,
    ) -> Result<(), StoreError> {
        let mut found = Some(value);
        while let Some(value) = found {
            let since = packed::read_standing(&value)?.since;
            self.remove_from_list(entry, since).await?;
            found = self.remove_standing(entry, &value).await?;
        }
        Ok(())
    }

    /// Removes the standing. Returns another one that was found instead.
    async fn remove_standing(
        &self,
        entry: &ListEntry,
        value: &Packed,
    ) -> Result<Option<Packed>, StoreError> {
        let key = entry.member_key();
        let removed = self.members.remove(&self.db, &key, value);
        match removed.await? {
            Swapped::Done => Ok(None),
            Swapped::Found(other) => Ok(other),
        }
    }

    pub(super) async fn remove_all_memberships(
        &self,
        account: AccountId,
    ) -> Result<(), StoreError> {
        let mut after = ListEntry::before_all(account);
        loop {
            let rows = self.entries_after(&after, CHUNK).await?;
            let leaves = rows.iter().map(|(entry, listed)| async move {
                let key = entry.member_key();
                if let Some(standing) = self.members.read(&self.db, &key).await? {
                    self.remove_member_then_entry(entry, standing).await?;
                }
                let Some(listed) = listed else { return Ok(()) };
                // An entry without a standing.
                self.users
                    .remove(&self.db, &entry.key(), listed)
                    .await
                    .map(drop)
            });
            for left in join_all(leaves).await {
                left?;
            }
            match rows.last() {
                Some((entry, _)) if rows.len() == CHUNK as usize => after = entry.clone(),
                _ => return Ok(()),
            }
        }
    }
}
