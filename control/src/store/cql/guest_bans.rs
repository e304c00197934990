//! Guests' devices that may not come: rows in a partition of their conference, which expire by themselves.

use confab_e2ee::mls::identity::DevicePublicKey;
use confab_protocol::control::ConferenceId;
use scylla::DeserializeRow;

use super::cas_table::{Swapped, Ttl};
use super::core::{Core, ROUNDS};
use super::keys;
use super::packed;
use super::rows::Packed;
use crate::clock::UnixMillis;
use crate::store::{GUEST_BAN_LIFE, GuestBan, StoreError};

/// The life of a row in seconds.
const LIFE: Ttl = GUEST_BAN_LIFE.as_secs() as Ttl;

#[derive(DeserializeRow)]
struct ListedBan {
    device: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl Core {
    pub(super) async fn ban_guest(&self, ban: &GuestBan) -> Result<(), StoreError> {
        let GuestBan {
            conference, device, ..
        } = *ban;
        if self.conference(conference).await?.is_none() {
            return Err(StoreError::NotFound);
        }
        let (key, row) = (keys::guest_ban(conference, device), packed::guest_ban(ban));
        let mut found = self.guest_bans.read(&self.db, &key).await?;
        for _ in 0..ROUNDS {
            let put = self
                .guest_bans
                .put(&self.db, &key, found.as_ref(), &row, LIFE);
            match put.await? {
                Swapped::Found(other) => found = other,
                // Checked last: a deletion closes the conference first, then removes the bans that it finds.
                Swapped::Done if self.conference(conference).await?.is_some() => return Ok(()),
                Swapped::Done => {
                    self.lift_guest_ban(conference, device).await?;
                    return Err(StoreError::NotFound);
                }
            }
        }
        Err(StoreError::Conflict)
    }

    pub(super) async fn guest_ban(
        &self,
        conference: ConferenceId,
        device: DevicePublicKey,
        now: UnixMillis,
    ) -> Result<Option<GuestBan>, StoreError> {
        let key = keys::guest_ban(conference, device);
        let Some(row) = self.guest_bans.read(&self.db, &key).await? else {
            return Ok(None);
        };
        let found = packed::read_guest_ban(conference, device, &row)?;
        Ok(Some(found).filter(|ban| is_in_force(ban, now)))
    }

    pub(super) async fn guest_bans(
        &self,
        conference: ConferenceId,
        now: UnixMillis,
    ) -> Result<Vec<GuestBan>, StoreError> {
        let key = keys::id(conference.as_bytes());
        let rows: Vec<ListedBan> = self.db.rows(&self.lists.guest_bans, key).await?;
        let mut found = Vec::new();
        for row in rows {
            // A removed row has only its mark.
            if let Some(value) = row.value {
                let device = row.device.as_slice().try_into();
                let device =
                    device.map_err(|_| StoreError::Corrupt("the device of a guest's ban"))?;
                let device = DevicePublicKey(device);
                let ban = packed::read_guest_ban(conference, device, &Packed::new(value))?;
                found.extend(Some(ban).filter(|ban| is_in_force(ban, now)));
            }
        }
        Ok(found)
    }

    pub(super) async fn lift_guest_ban(
        &self,
        conference: ConferenceId,
        device: DevicePublicKey,
    ) -> Result<(), StoreError> {
        let key = keys::guest_ban(conference, device);
        let mut found = self.guest_bans.read(&self.db, &key).await?;
        for _ in 0..ROUNDS {
            let Some(row) = found else { return Ok(()) };
            match self.guest_bans.remove(&self.db, &key, &row).await? {
                Swapped::Done => return Ok(()),
                // The device was banned again meanwhile.
                Swapped::Found(other) => found = other,
            }
        }
        Err(StoreError::Conflict)
    }

    /// Removes the bans of a conference that is closing, those that are over, too.
    pub(super) async fn remove_all_guest_bans(
        &self,
        conference: ConferenceId,
    ) -> Result<(), StoreError> {
        for ban in self.guest_bans(conference, UnixMillis(0)).await? {
            self.lift_guest_ban(conference, ban.device).await?;
        }
        Ok(())
    }
}

fn is_in_force(ban: &GuestBan, now: UnixMillis) -> bool {
    ban.since.after(GUEST_BAN_LIFE) > now
}
