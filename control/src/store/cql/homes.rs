//! Homes of conferences: the owners of their rooms.

use confab_protocol::control::ConferenceId;

use super::cas_table::Swapped;
use super::core::Core;
use super::home_row::HomeRow;
use super::keys;
use crate::store::{HomeRecord, StoreError};

impl Core {
    pub(super) async fn home(
        &self,
        conference: ConferenceId,
    ) -> Result<Option<HomeRecord>, StoreError> {
        // The owner commands relays of all datacentres. A quorum of this one may not know of an owner in another.
        let key = keys::id(conference.as_bytes());
        let found = self.homes.read_serial(&self.db, &key).await?;
        found.map(|row| row.read()).transpose()
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
        let (old, new) = (old.map(HomeRow::new), HomeRow::new(new));
        let written = self.homes.put(&self.db, &key, old.as_ref(), &new, 0);
        match written.await? {
            Swapped::Done => Ok(()),
            Swapped::Found(_) => Err(StoreError::Conflict),
        }
    }
}
