//! Changes of a conference's owner.

use confab_protocol::control::{AccountId, ConferenceId};

use super::core::Core;
use super::keys::{JOINED, ListEntry, OWNED};
use crate::store::{AccountRecord, ConferenceRecord, StoreError};

impl Core {
    /// Makes `new`, which has a standing, the owner in place of `old`. It may be repeated from any point.
    pub(super) async fn set_owner(
        &self,
        id: ConferenceId,
        old: AccountId,
        new: AccountId,
    ) -> Result<(), StoreError> {
        let (account, standing) = tokio::join!(self.account(new), self.member(id, new));
        let (Some(account), Some(standing)) = (account?, standing?) else {
            return Err(StoreError::NotFound);
        };
        let entry = |account, list| ListEntry {
            conference: id,
            account,
            list,
        };
        // Before the row: the deletion of an account reads its list of owned conferences last.
        self.add_to_list(&entry(new, OWNED), standing.since).await?;
        let written = self.write_owner(id, old, &account).await;
        if let Err(StoreError::Conflict | StoreError::NotFound) = written {
            self.remove_from_list(&entry(new, OWNED), standing.since)
                .await?;
        }
        written?;
        if !self.is_account(new).await? {
            // The account was deleted meanwhile, and its deletion may have read the list before.
            if let Some(before) = self.account(old).await? {
                self.write_owner(id, new, &before).await?;
            }
            self.remove_from_list(&entry(new, OWNED), standing.since)
                .await?;
            return Err(StoreError::NotFound);
        }
        self.remove_from_list(&entry(new, JOINED), standing.since)
            .await?;
        if let Some(standing) = self.member(id, old).await? {
            self.add_to_list(&entry(old, JOINED), standing.since)
                .await?;
            self.remove_from_list(&entry(old, OWNED), standing.since)
                .await?;
        }
        Ok(())
    }

    async fn write_owner(
        &self,
        id: ConferenceId,
        old: AccountId,
        new: &AccountRecord,
    ) -> Result<(), StoreError> {
        let of_new = |record: &ConferenceRecord| {
            if record.owner == new.id {
                return Ok(None);
            }
            if record.owner != old {
                return Err(StoreError::Conflict);
            }
            Ok(Some(ConferenceRecord {
                owner: new.id,
                owner_name: new.username.clone(),
                revision: record.revision.wrapping_add(1),
                ..record.clone()
            }))
        };
        self.rewrite_conference(id, of_new).await.map(drop)
    }
}
