//! Invitations by link: who may make, see and revoke them, and their use by accounts that exist.

use std::time::Duration;

use confab_protocol::control::room::{Role, Visibility};
use confab_protocol::control::{InvitationId, InvitationToken, Slug};

use super::errors::InvitationError;
use super::rights::{self, Act};
use super::service::Conferences;
use crate::accounts::SignedIn;
use crate::invitations::{Invited, RedeemError};
use crate::random;
use crate::store::{ConferenceRecord, InvitationRecord, invitation_id};

/// Maximum number of invitations of a conference that are still good.
const MAX_GOOD: usize = 50;

/// An invitation to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewInvitation {
    /// The role that it gives: member or listener.
    pub role: Role,
    /// The number of accounts that may use it.
    pub uses: u32,
    pub valid: Duration,
}

impl Conferences {
    /// Makes an invitation. Its token is known to the caller alone from then on.
    pub async fn create_invitation(
        &self,
        caller: &SignedIn,
        slug: Slug,
        new: NewInvitation,
    ) -> Result<(InvitationToken, InvitationRecord), InvitationError> {
        let conference = self.may_invite(caller, slug, new.role).await?;
        let now = self.clock.now();
        let others = self.store.invitations(conference.id, now).await?;
        let good = others.iter().filter(|other| other.used < other.uses);
        if good.count() >= MAX_GOOD {
            return Err(InvitationError::TooMany { most: MAX_GOOD });
        }
        let token = InvitationToken::new(random::bytes());
        let invitation = InvitationRecord {
            conference: conference.id,
            id: invitation_id(&token),
            role: new.role,
            author: caller.account,
            author_name: caller.username.clone(),
            created: now,
            expires: now.after(new.valid),
            uses: new.uses,
            used: 0,
            last_user: None,
        };
        self.store.create_invitation(invitation.clone()).await?;
        Ok((token, invitation))
    }

    /// The invitations that have not expired, those that are used up included.
    pub async fn list_invitations(
        &self,
        caller: &SignedIn,
        slug: Slug,
    ) -> Result<Vec<InvitationRecord>, InvitationError> {
        let conference = self.may_invite(caller, slug, Role::Member).await?;
        let now = self.clock.now();
        Ok(self.store.invitations(conference.id, now).await?)
    }

    /// Ends an invitation. Who became a member by it stays one.
    pub async fn revoke_invitation(
        &self,
        caller: &SignedIn,
        slug: Slug,
        id: InvitationId,
    ) -> Result<(), InvitationError> {
        let conference = self.may_invite(caller, slug, Role::Member).await?;
        match self.store.revoke_invitation(conference.id, id).await? {
            true => Ok(()),
            false => Err(InvitationError::NoSuchInvitation),
        }
    }

    /// Makes the caller a member. A public conference takes everybody: there an invitation that is not good changes nothing.
    pub async fn redeem_invitation(
        &self,
        caller: &SignedIn,
        invited: Invited,
    ) -> Result<(ConferenceRecord, Role), RedeemError> {
        let found = self.store.conference_by_slug(invited.slug).await?;
        let conference = found.ok_or(RedeemError::NoConference)?;
        let redeemed = self
            .invitations
            .redeem(conference.id, &invited.token, caller.account)
            .await;
        match redeemed {
            Err(RedeemError::NotGood) if conference.visibility == Visibility::Public => {
                Ok((conference, Role::Unspecified))
            }
            redeemed => redeemed.map(|role| (conference, role)),
        }
    }

    async fn may_invite(
        &self,
        caller: &SignedIn,
        slug: Slug,
        role: Role,
    ) -> Result<ConferenceRecord, InvitationError> {
        let conference = self.find(slug).await?;
        let actor = self.role(conference.id, caller.account).await?;
        rights::check(actor, Act::Invite(role), None, false)?;
        Ok(conference)
    }
}
