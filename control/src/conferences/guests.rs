//! Bans of guests, whose accounts are soon gone: they bind the guest's device, and end the invitation by which it came.

use confab_protocol::control::room::Role;
use confab_protocol::control::{ConferenceId, Slug, Username};

use super::errors::{ModerationError, ViewError};
use super::rights::{self, Act};
use super::service::Conferences;
use crate::accounts::SignedIn;
use crate::store::{AccountRecord, GuestBan, MemberRecord, Standing, StoreError};

/// Members that are read at a time, to find guests.
const GUESTS_PAGE: u32 = 200;

impl Conferences {
    /// Whether a guest came to this conference, and may be there.
    ///
    /// # Errors
    ///
    /// [`ViewError::InvitationOnly`] if it came to another one, [`ViewError::Banned`] if its device has been banned under another name.
    pub async fn check_guest(
        &self,
        conference: ConferenceId,
        caller: &SignedIn,
    ) -> Result<(), ViewError> {
        let found = self.store.recall_member(conference, caller.account).await?;
        found.ok_or(ViewError::InvitationOnly)?;
        let account = self.store.account(caller.account).await?;
        let Some(guest) = account.and_then(|account| account.guest) else {
            return Ok(());
        };
        let now = self.clock.now();
        match self.store.guest_ban(conference, guest.device, now).await? {
            Some(ban) if ban.account != caller.account => Err(ViewError::Banned),
            _ => Ok(()),
        }
    }

    /// Bans the other guests in the conference that came with the device of this one; does nothing with another account.
    pub(super) async fn ban_guests_of_device(
        &self,
        conference: ConferenceId,
        account: &AccountRecord,
    ) -> Result<(), ModerationError> {
        let Some(guest) = account.guest else {
            return Ok(());
        };
        let mut cursor = None;
        loop {
            let page = self.store.members(conference, cursor, GUESTS_PAGE).await?;
            for member in page.items {
                if !member.username.is_guest() || member.account == account.id {
                    continue;
                }
                let other = self.store.account(member.account).await?;
                let device = other
                    .and_then(|other| other.guest)
                    .map(|guest| guest.device);
                if device == Some(guest.device) {
                    let old = member.standing;
                    let new = old.changed_to(Role::Banned, old.muted);
                    self.rooms
                        .change(conference, member.account, Some(old), Some(new))
                        .await?;
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// Keeps a guest from coming again; does nothing with another account.
    pub(super) async fn refuse_guest(
        &self,
        conference: ConferenceId,
        account: &AccountRecord,
    ) -> Result<(), StoreError> {
        let Some(guest) = account.guest else {
            return Ok(());
        };
        let ban = GuestBan {
            conference,
            device: guest.device,
            account: account.id,
            username: account.username.clone(),
            since: self.clock.now(),
        };
        self.store.ban_guest(ban).await?;
        if let Some(invitation) = guest.invitation {
            self.store.revoke_invitation(conference, invitation).await?;
        }
        Ok(())
    }

    /// Lifts the ban of the device of a guest that had this name. True if that was all: the guest's account is gone.
    pub(super) async fn lift_guest_ban(
        &self,
        caller: &SignedIn,
        slug: &Slug,
        username: &Username,
        role: Role,
    ) -> Result<bool, ModerationError> {
        let conference = self.find(slug.clone()).await?.id;
        let actor = self.role(conference, caller.account).await?;
        rights::check(actor, Act::SetRole(role), Some(Role::Banned), false)?;
        let bans = self.store.guest_bans(conference, self.clock.now()).await?;
        let Some(ban) = bans.into_iter().find(|ban| ban.username == *username) else {
            return Ok(false);
        };
        self.store.lift_guest_ban(conference, ban.device).await?;
        Ok(self.store.account(ban.account).await?.is_none())
    }

    /// Adds the banned guests whose accounts are gone.
    pub(super) async fn add_banned_guests(
        &self,
        conference: ConferenceId,
        members: &mut Vec<MemberRecord>,
    ) -> Result<(), StoreError> {
        for ban in self.store.guest_bans(conference, self.clock.now()).await? {
            if members.iter().all(|member| member.account != ban.account) {
                members.push(MemberRecord {
                    account: ban.account,
                    username: ban.username,
                    standing: Standing::first(Role::Banned, ban.since),
                });
            }
        }
        Ok(())
    }
}
