//! Who has a standing in which conference: a row with the conference, and one in the account's own list that leads to it.

use confab_protocol::control::{AccountId, ConferenceId};

use super::cells::Swapped;
use super::keys::{self, Place};
use super::lists::CHUNK;
use super::{Core, ROUNDS, values};
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
        found.map(|value| values::read_standing(&value)).transpose()
    }

    pub(super) async fn add_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        standing: Standing,
    ) -> Result<(), StoreError> {
        let value = values::standing(standing);
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
        let place = Place::of(&record, account);
        self.point_to(&place, standing.since).await?;
        let added = self.members.swap(&self.db, &key, None, Some((&value, 0)));
        if let Swapped::Found(found) = added.await? {
            // Somebody else was faster, and the place in the list has to tell of that standing.
            if let Some(other) = found {
                let since = values::read_standing(&other)?.since;
                let (mine, theirs) = (values::tag(standing.since), values::tag(since));
                self.users
                    .swap(&self.db, &place.key(), Some(&mine), Some((&theirs, 0)))
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
        let (was, becomes) = (values::standing(old), values::standing(new));
        let new = Some((becomes.as_slice(), 0));
        match self.members.swap(&self.db, &key, Some(&was), new).await? {
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
        let was = values::standing(old);
        if let Swapped::Found(_) = self.members.swap(&self.db, &key, Some(&was), None).await? {
            return Err(StoreError::Conflict);
        }
        // Last: a standing that no list leads to would outlive its account.
        if let Some(record) = self.conference(conference).await? {
            self.forget(&Place::of(&record, account), old.since).await?;
        }
        Ok(())
    }

    /// Puts the conference into the account's list, for a standing since `since`.
    pub(super) async fn point_to(
        &self,
        place: &Place,
        since: UnixMillis,
    ) -> Result<(), StoreError> {
        let (key, tag) = (place.key(), values::tag(since));
        let mut old = None;
        for _ in 0..ROUNDS {
            let new = Some((tag.as_slice(), 0));
            let swapped = self.users.swap(&self.db, &key, old.as_deref(), new);
            match swapped.await? {
                Swapped::Done => return Ok(()),
                Swapped::Found(other) => old = other,
            }
        }
        Err(StoreError::Conflict)
    }

    /// Takes the conference out of the account's list, unless it is there for a newer standing.
    pub(super) async fn forget(&self, place: &Place, since: UnixMillis) -> Result<(), StoreError> {
        self.users
            .swap(&self.db, &place.key(), Some(&values::tag(since)), None)
            .await
            .map(drop)
    }

    /// Takes a standing away, whatever it is, for the end of its account: whose list leads to it.
    async fn remove_with_place_last(
        &self,
        place: &Place,
        value: Vec<u8>,
    ) -> Result<(), StoreError> {
        let mut found = Some(value);
        while let Some(value) = found {
            let since = values::read_standing(&value)?.since;
            found = self.remove_standing(place, &value).await?;
            self.forget(place, since).await?;
        }
        Ok(())
    }

    /// The same for the end of its conference: the standing itself leads to the place in the list.
    pub(super) async fn remove_with_place_first(
        &self,
        place: &Place,
        value: Vec<u8>,
    ) -> Result<(), StoreError> {
        let mut found = Some(value);
        while let Some(value) = found {
            let since = values::read_standing(&value)?.since;
            self.forget(place, since).await?;
            found = self.remove_standing(place, &value).await?;
        }
        Ok(())
    }

    /// Takes this standing away; the other one that was found in its place.
    async fn remove_standing(
        &self,
        place: &Place,
        value: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let key = place.member_key();
        let removed = self.members.swap(&self.db, &key, Some(value), None);
        match removed.await? {
            Swapped::Done => Ok(None),
            Swapped::Found(other) => Ok(other),
        }
    }

    pub(super) async fn leave_everywhere(&self, account: AccountId) -> Result<(), StoreError> {
        let mut after = Place::before_all(account);
        loop {
            let rows = self.places_after(&after, CHUNK).await?;
            let leaves = rows.iter().map(|(place, tag)| async move {
                let key = place.member_key();
                if let Some(standing) = self.members.read(&self.db, &key).await? {
                    self.remove_with_place_last(place, standing).await?;
                }
                let Some(tag) = tag else { return Ok(()) };
                // One whose standing is gone, or was never written.
                self.users
                    .swap(&self.db, &place.key(), Some(tag), None)
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
