//! Bans of guests, whose accounts are soon gone: they bind the guest's device, and end the invitation by which it came.

use confab_protocol::control::room::Role;
use confab_protocol::control::{ConferenceId, Slug, Username};

use super::errors::ModerationError;
use super::rights::{self, Act};
use super::service::Conferences;
use crate::accounts::SignedIn;
use crate::store::{AccountRecord, GuestBan, MemberRecord, Standing, StoreError};

impl Conferences {
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
