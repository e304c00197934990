//! Who has a standing in which conference: a row with the conference, and one in the account's own list that leads to it.

use confab_protocol::control::{AccountId, ConferenceId};

use super::cas_table::Swapped;
use super::keys::{self, Place};
use super::lists::CHUNK;
use super::rows::Packed;
use super::{Core, ROUNDS, packed};
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
        let place = Place::of(&(&record).into(), account);
        self.point_to(&place, standing.since).await?;
        let added = self.members.put(&self.db, &key, None, &value, 0);
        if let Swapped::Found(found) = added.await? {
            // Somebody else was faster, and the place in the list has to tell of that standing.
            if let Some(other) = found {
                let since = packed::read_standing(&other)?.since;
                let (mine, theirs) = (packed::listed(standing.since), packed::listed(since));
                self.users
                    .put(&self.db, &place.key(), Some(&mine), &theirs, 0)
                    .await?;
            }
            return Err(StoreError::Conflict);
        }
        // Looked at last: who deletes either closes it first, then removes the standings that it finds.
        let (is_conference, is_account) =
            tokio::join!(self.conference(conference), self.is_account(account));
        if is_conference?.is_some() && is_account? {
            return Ok(());
        }
        self.remove_with_place_last(&place, value).await?;
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
        // Last: a standing that no list leads to would outlive its account.
        if let Some(record) = self.conference(conference).await? {
            let place = Place::of(&(&record).into(), account);
            self.forget(&place, old.since).await?;
        }
        Ok(())
    }

    /// Puts the conference into the account's list, for a standing since `since`.
    pub(super) async fn point_to(
        &self,
        place: &Place,
        since: UnixMillis,
    ) -> Result<(), StoreError> {
        let (key, new) = (place.key(), packed::listed(since));
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

    /// Takes the conference out of the account's list, unless it is there for a newer standing.
    pub(super) async fn forget(&self, place: &Place, since: UnixMillis) -> Result<(), StoreError> {
        self.users
            .remove(&self.db, &place.key(), &packed::listed(since))
            .await
            .map(drop)
    }

    /// Takes a standing away, whatever it is, for the end of its account: whose list leads to it.
    async fn remove_with_place_last(&self, place: &Place, value: Packed) -> Result<(), StoreError> {
        let mut found = Some(value);
        while let Some(value) = found {
            let since = packed::read_standing(&value)?.since;
            found = self.remove_standing(place, &value).await?;
            self.forget(place, since).await?;
        }
        Ok(())
    }

    /// The same for the end of its conference: the standing itself leads to the place in the list.
    pub(super) async fn remove_with_place_first(
        &self,
        place: &Place,
        value: Packed,
    ) -> Result<(), StoreError> {
        let mut found = Some(value);
        while let Some(value) = found {
            let since = packed::read_standing(&value)?.since;
            self.forget(place, since).await?;
            found = self.remove_standing(place, &value).await?;
        }
        Ok(())
    }

    /// Takes this standing away; the other one that was found in its place.
    async fn remove_standing(
        &self,
        place: &Place,
        value: &Packed,
    ) -> Result<Option<Packed>, StoreError> {
        let key = place.member_key();
        let removed = self.members.remove(&self.db, &key, value);
        match removed.await? {
            Swapped::Done => Ok(None),
            Swapped::Found(other) => Ok(other),
        }
    }

    pub(super) async fn leave_everywhere(&self, account: AccountId) -> Result<(), StoreError> {
        let mut after = Place::before_all(account);
        loop {
            let rows = self.places_after(&after, CHUNK).await?;
            let leaves = rows.iter().map(|(place, listed)| async move {
                let key = place.member_key();
                if let Some(standing) = self.members.read(&self.db, &key).await? {
                    self.remove_with_place_last(place, standing).await?;
                }
                let Some(listed) = listed else { return Ok(()) };
                // One whose standing is gone, or was never written.
                self.users
                    .remove(&self.db, &place.key(), listed)
                    .await
                    .map(drop)
            });
            for left in join_all(leaves).await {
                left?;
            }
            match rows.last() {
                Some((place, _)) if rows.len() == CHUNK as usize => after = place.clone(),
                _ => return Ok(()),
            }
        }
    }
}
