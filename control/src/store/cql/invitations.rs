//! Invitations: rows in a partition of their conference, which expire by themselves.

use std::time::Duration;

use confab_protocol::control::{AccountId, ConferenceId, InvitationId};
use scylla::DeserializeRow;

use super::cas_table::{Swapped, Ttl};
use super::core::Core;
use super::keys;
use super::packed;
use super::rows::Packed;
use crate::clock::UnixMillis;
use crate::store::{InvitationRecord, StoreError};

/// A row outlives its invitation by so much: clocks of the nodes and of the database differ.
const MARGIN: Duration = Duration::from_secs(60 * 60);

#[derive(DeserializeRow)]
struct ListedInvitation {
    id: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl Core {
    pub(super) async fn create_invitation(
        &self,
        invitation: &InvitationRecord,
    ) -> Result<(), StoreError> {
        let InvitationRecord { conference, id, .. } = *invitation;
        if self.conference(conference).await?.is_none() {
            return Err(StoreError::NotFound);
        }
        let (key, row) = (
            keys::invitation(conference, id),
            packed::invitation(invitation),
        );
        let ttl = life(invitation, invitation.created);
        // Found: the same invitation, stored before and used since.
        self.invitations
            .put(&self.db, &key, None, &row, ttl)
            .await?;
        // Checked last: a deletion closes the conference first, then removes the invitations that it finds.
        if self.conference(conference).await?.is_some() {
            return Ok(());
        }
        self.revoke_invitation(conference, id).await?;
        Err(StoreError::NotFound)
    }

    pub(super) async fn invitation(
        &self,
        conference: ConferenceId,
        id: InvitationId,
        now: UnixMillis,
    ) -> Result<Option<InvitationRecord>, StoreError> {
        let key = keys::invitation(conference, id);
        let Some(row) = self.invitations.read(&self.db, &key).await? else {
            return Ok(None);
        };
        let found = packed::read_invitation(conference, id, &row)?;
        Ok((found.expires > now).then_some(found))
    }

    pub(super) async fn invitations(
        &self,
        conference: ConferenceId,
        now: UnixMillis,
    ) -> Result<Vec<InvitationRecord>, StoreError> {
        let key = keys::id(conference.as_bytes());
        let rows: Vec<ListedInvitation> = self.db.rows(&self.lists.invitations, key).await?;
        let mut found = Vec::new();
        for row in rows {
            // A removed row has only its mark.
            if let Some(value) = row.value {
                let id = InvitationId(keys::read_id(&row.id)?);
                let one = packed::read_invitation(conference, id, &Packed::new(value))?;
                found.extend((one.expires > now).then_some(one));
            }
        }
        Ok(found)
    }

    pub(super) async fn use_invitation(
        &self,
        old: &InvitationRecord,
        by: AccountId,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let key = keys::invitation(old.conference, old.id);
        let new = packed::invitation(&old.used_by(by));
        let ttl = life(old, now);
        let old = packed::invitation(old);
        let used = self.invitations.put(&self.db, &key, Some(&old), &new, ttl);
        match used.await? {
            Swapped::Done => Ok(()),
            Swapped::Found(None) => Err(StoreError::NotFound),
            Swapped::Found(Some(_)) => Err(StoreError::Conflict),
        }
    }

    pub(super) async fn revoke_invitation(
        &self,
        conference: ConferenceId,
        id: InvitationId,
    ) -> Result<bool, StoreError> {
        let key = keys::invitation(conference, id);
        let mut found = self.invitations.read(&self.db, &key).await?;
        for _ in 0..super::core::ROUNDS {
            let Some(row) = found else { return Ok(false) };
            match self.invitations.remove(&self.db, &key, &row).await? {
                Swapped::Done => return Ok(true),
                // It was used meanwhile.
                Swapped::Found(other) => found = other,
            }
        }
        Err(StoreError::Conflict)
    }

    /// Removes the invitations of a conference that is closing, those that have expired, too.
    pub(super) async fn remove_all_invitations(
        &self,
        conference: ConferenceId,
    ) -> Result<(), StoreError> {
        for invitation in self.invitations(conference, UnixMillis(0)).await? {
            self.revoke_invitation(conference, invitation.id).await?;
        }
        Ok(())
    }
}

/// How long the row lives from `now` on, in seconds.
fn life(invitation: &InvitationRecord, now: UnixMillis) -> Ttl {
    let left = invitation.expires.since(now) + MARGIN;
    Ttl::try_from(left.as_secs()).unwrap_or(Ttl::MAX)
}
