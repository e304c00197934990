//! Invitations to conferences: whether one is good, and its use.

use std::sync::Arc;

use confab_protocol::control::room::Role;
use confab_protocol::control::{AccountId, ConferenceId, InvitationToken, Slug};

use crate::causes::from_causes;
use crate::clock::Clock;
use crate::store::{InvitationRecord, Standing, Store, StoreError, invitation_id};

/// Attempts to use an invitation that others use at the same time.
const ATTEMPTS: u32 = 20;

/// A conference and the token of an invitation to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invited {
    pub slug: Slug,
    pub token: InvitationToken,
}

/// The conference has its maximum of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MembersFull {
    /// Maximum number of members.
    pub most: u64,
}

/// Errors of the use of an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedeemError {
    NoConference,
    /// It is unknown, expired, revoked or used up, or its author may not invite any more. Which one is not told.
    NotGood,
    /// The account is banned from the conference.
    Banned,
    MembersFull(MembersFull),
    Store(StoreError),
}

from_causes! {
    RedeemError: MembersFull(MembersFull), Store(StoreError);
}

/// Uses invitations.
#[derive(Clone)]
pub struct Invitations {
    store: Arc<dyn Store>,
    clock: Clock,
    max_members: u64,
}

impl Invitations {
    /// A conference has at most `max_members` members.
    pub fn new(store: Arc<dyn Store>, clock: Clock, max_members: u64) -> Self {
        Self {
            store,
            clock,
            max_members,
        }
    }

    /// Whether the conference has a place for another member.
    pub async fn has_room_for_member<E: From<StoreError> + From<MembersFull>>(
        &self,
        conference: ConferenceId,
    ) -> Result<(), E> {
        let most = self.max_members;
        match self.store.count_members(conference).await? < most {
            true => Ok(()),
            false => Err(MembersFull { most }.into()),
        }
    }

    /// The invitation, if it is good for another account.
    pub async fn good(
        &self,
        conference: ConferenceId,
        token: &InvitationToken,
    ) -> Result<InvitationRecord, RedeemError> {
        let (id, now) = (invitation_id(token), self.clock.now());
        let found = self.store.invitation(conference, id, now).await?;
        let found = found.filter(|found| found.used < found.uses);
        let found = found.ok_or(RedeemError::NotGood)?;
        let author = self.store.member(conference, found.author).await?;
        match author.map(|standing| standing.role) {
            Some(Role::Owner | Role::Moderator) => Ok(found),
            _ => Err(RedeemError::NotGood),
        }
    }

    /// As [`Self::good`], by the conference's slug.
    pub async fn look_up(&self, invited: &Invited) -> Result<InvitationRecord, RedeemError> {
        let conference = self
            .store
            .conference_by_slug(invited.slug.clone())
            .await?
            .ok_or(RedeemError::NoConference)?;
        self.good(conference.id, &invited.token).await
    }

    /// Makes the account a member. Returns its role. Nothing is used up by an account that is a member already.
    pub async fn redeem(
        &self,
        conference: ConferenceId,
        token: &InvitationToken,
        account: AccountId,
    ) -> Result<Role, RedeemError> {
        for _ in 0..ATTEMPTS {
            let standing = self.store.member(conference, account).await?;
            match standing.map(|standing| standing.role) {
                Some(Role::Banned) => return Err(RedeemError::Banned),
                Some(role) => return Ok(role),
                None => {}
            }
            let invitation = self.good(conference, token).await?;
            self.has_room_for_member::<RedeemError>(conference).await?;
            let (role, now) = (invitation.role, self.clock.now());
            match self.store.use_invitation(invitation, account, now).await {
                Ok(()) => {}
                // Another account used it, or it was revoked.
                Err(StoreError::Conflict | StoreError::NotFound) => continue,
                Err(error) => return Err(error.into()),
            }
            let standing = Standing::first(role, now);
            match self.store.add_member(conference, account, standing).await {
                Ok(()) => return Ok(role),
                // The account became a member, or was banned, at the same moment.
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }
}
