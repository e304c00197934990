//! Guests: people without an account, who come to one conference. Each gets an account that is deleted when the guest leaves, when the room
//! ends, or after a day.

use confab_e2ee::mls::identity::DevicePublicKey;
use confab_protocol::control::room::{Role, Visibility};
use confab_protocol::control::{AccountId, Device, InvitationToken, Slug, Username};

use super::{Accounts, Granted};
use crate::accounts::errors::GuestError;
use crate::domain::PasswordHash;
use crate::invitations::RedeemError;
use crate::random;
use crate::source::Source;
use crate::store::{
    AccountKind, AccountRecord, ConferenceRecord, GUEST_SESSION_LIFE, GuestOrigin, Name, Standing,
    StoreError, invitation_id,
};

/// Attempts to find a name that no other guest has.
const NAME_ATTEMPTS: u32 = 5;

/// Somebody who comes as a guest.
pub struct Guest {
    /// As the guest chose it.
    pub name: Username,
    pub slug: Slug,
    /// `None` for a public conference.
    pub token: Option<InvitationToken>,
    /// The user's name for the device.
    pub device: Device,
    /// The device's key. The guest has proved that it has it.
    pub key: DevicePublicKey,
}

impl Accounts {
    /// Makes a guest's account, a member of the conference, and its session.
    pub async fn enter_as_guest(
        &self,
        guest: Guest,
        source: Source,
    ) -> Result<Granted, GuestError> {
        if !self.takes_guests {
            return Err(GuestError::NotHere);
        }
        if guest.name.as_str().len() > Username::MAX_OF_GUEST || guest.name.is_guest() {
            return Err(GuestError::Name);
        }
        self.limiter.admit_source(source)?;
        let conference = self.store.conference_by_slug(guest.slug).await?;
        let conference = conference.ok_or(RedeemError::NoConference)?;
        let is_public = conference.visibility == Visibility::Public;
        // An invitation that is not good any more changes nothing in a public conference.
        let token = match &guest.token {
            None if is_public => None,
            None => return Err(GuestError::InvitationOnly),
            Some(token) => match self.invitations.good(conference.id, token).await {
                Ok(_) => Some(token),
                Err(RedeemError::NotGood) if is_public => None,
                Err(error) => return Err(error.into()),
            },
        };
        let now = self.clock.now();
        let ban = self.store.guest_ban(conference.id, guest.key, now).await?;
        if ban.is_some() {
            return Err(RedeemError::Banned.into());
        }
        let origin = GuestOrigin {
            device: guest.key,
            invitation: token.map(invitation_id),
        };
        let account = self.guest_account(&guest.name, origin).await?;
        let granted = self.admit_guest(&account, &conference, token, guest.device);
        match granted.await {
            Ok(granted) => Ok(granted),
            Err(error) => {
                self.delete(account.id).await?;
                Err(error)
            }
        }
    }

    /// Deletes the account of a guest that is gone. If that fails, the store deletes it a day after it came.
    pub async fn forget_guest(&self, guest: AccountId) {
        if let Err(error) = self.delete(guest).await {
            tracing::debug!(account = %guest, %error, "a guest's account is not deleted yet");
        }
    }

    async fn guest_account(
        &self,
        chosen: &Username,
        origin: GuestOrigin,
    ) -> Result<AccountRecord, GuestError> {
        let mut last = StoreError::Taken(Name::Username);
        for _ in 0..NAME_ATTEMPTS {
            let name = Username::guest(chosen, random::bytes()).ok_or(GuestError::Name)?;
            let password = PasswordHash::of_nobody(random::bytes());
            let account = AccountRecord {
                guest: Some(origin),
                ..AccountRecord::new(AccountKind::Guest, name, password, self.clock.now())
            };
            match self.store.create_account(account.clone()).await {
                Ok(()) => return Ok(account),
                Err(taken @ StoreError::Taken(_)) => last = taken,
                Err(error) => return Err(error.into()),
            }
        }
        Err(last.into())
    }

    async fn admit_guest(
        &self,
        account: &AccountRecord,
        conference: &ConferenceRecord,
        token: Option<&InvitationToken>,
        device: Device,
    ) -> Result<Granted, GuestError> {
        match token {
            Some(token) => {
                let redeemed = self.invitations.redeem(conference.id, token, account.id);
                redeemed.await?;
            }
            None => {
                let rooms = self
                    .invitations
                    .has_room_for_member::<RedeemError>(conference.id);
                rooms.await?;
                let standing = Standing::first(Role::Member, self.clock.now());
                let added = self.store.add_member(conference.id, account.id, standing);
                added.await?;
            }
        }
        let opened = self.open_session(account.id, device, GUEST_SESSION_LIFE);
        let (session, token) = opened.await?;
        Ok(self.grant(account.clone(), &session, Some(&token)))
    }
}
