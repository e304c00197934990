//! Who owns which conference's room.

use confab_protocol::control::ConferenceId;

use super::cells::Swapped;
use super::{Core, keys, values};
use crate::store::{HomeRecord, StoreError};

impl Core {
    pub(super) async fn home(
        &self,
        conference: ConferenceId,
    ) -> Result<Option<HomeRecord>, StoreError> {
        // Who acts on it acts in the world: a quorum of one datacentre may not have heard of an owner in another.
        let key = keys::id(conference.as_bytes());
        let found = self.homes.read_decided(&self.db, &key).await?;
        found.map(|value| values::read_home(&value)).transpose()
    }

    pub(super) async fn write_home(
        &self,
        conference: ConferenceId,
        old: Option<&HomeRecord>,
        new: &HomeRecord,
    ) -> Result<(), StoreError> {
        if !new.may_follow(old) {
            return Err(StoreError::BadEra);
        }
        let key = keys::id(conference.as_bytes());
        let (old, new) = (old.map(values::home), values::home(new));
        let swapped = self
            .homes
            .swap(&self.db, &key, old.as_deref(), Some((&new, 0)));
        match swapped.await? {
            Swapped::Done => Ok(()),
            Swapped::Found(_) => Err(StoreError::Conflict),
        }
    }
}
