//! Operations on conferences.

use std::sync::Arc;

use confab_protocol::control::room::{Role, Visibility};
use confab_protocol::control::{AccountId, ConferenceId, Region, Slug, Title, Username};

use super::errors::{
    ChangeConferenceError, CreateError, DeleteError, FindError, LeaveError, ModerationError,
    ViewError,
};
use super::rights::{self, Act};
use crate::accounts::SignedIn;
use crate::clock::Clock;
use crate::invitations::Invitations;
use crate::random;
use crate::rooms::{Rooms, Settled};
use crate::store::{
    AccountRecord, ConferenceChange, ConferenceRecord, Cursor, MemberRecord, Membership, Page,
    Standing, Store, StoreError,
};

/// Number of conferences per page.
pub const CONFERENCE_PAGE: u32 = 100;
/// Number of members per page.
pub const MEMBER_PAGE: u32 = 500;

/// A conference to be created.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewConference {
    pub slug: Slug,
    pub title: Title,
    pub visibility: Visibility,
    /// Region of its relay; `None`: that of the first participant who joins.
    pub region: Option<Region>,
}

/// Operations on conferences, on a store and the live rooms.
pub struct Conferences {
    pub(super) store: Arc<dyn Store>,
    pub(super) rooms: Rooms,
    pub(super) invitations: Invitations,
    pub(super) clock: Clock,
    limits: ConferenceLimits,
}

/// Who may create conferences, and how many.
#[derive(Clone, Copy, Debug)]
pub struct ConferenceLimits {
    /// Accounts create conferences, and not the operator alone.
    pub by_accounts: bool,
    /// Maximum number of conferences that an account creates and owns.
    pub max_owned: u64,
}

impl Conferences {
    /// Operations on `store` and the live `rooms`.
    pub fn new(
        store: Arc<dyn Store>,
        rooms: Rooms,
        invitations: Invitations,
        clock: Clock,
        limits: ConferenceLimits,
    ) -> Self {
        Self {
            store,
            rooms,
            invitations,
            clock,
            limits,
        }
    }

    /// Creates a conference owned by `caller`.
    pub async fn create(
        &self,
        caller: &SignedIn,
        new: NewConference,
    ) -> Result<ConferenceRecord, CreateError> {
        let most = self.limits.max_owned;
        if !self.limits.by_accounts {
            return Err(CreateError::OperatorOnly);
        }
        if self.store.count_owned(caller.account).await? >= most {
            return Err(CreateError::TooManyOwned { most });
        }
        let owner = (caller.account, caller.username.clone());
        Ok(self.create_owned(owner, new).await?)
    }

    /// Creates a conference with this owner.
    pub(super) async fn create_owned(
        &self,
        (owner, owner_name): (AccountId, Username),
        new: NewConference,
    ) -> Result<ConferenceRecord, StoreError> {
        let now = self.clock.now();
        let conference = ConferenceRecord {
            id: ConferenceId::new(random::time_ordered_id(now)),
            slug: new.slug,
            title: new.title,
            visibility: new.visibility,
            owner,
            owner_name,
            created: now,
            region: new.region,
            revision: 0,
        };
        self.store.create_conference(conference.clone()).await?;
        Ok(conference)
    }

    /// The conference with this slug.
    pub async fn find(&self, slug: Slug) -> Result<ConferenceRecord, FindError> {
        self.store
            .conference_by_slug(slug)
            .await?
            .ok_or(FindError::NoConference)
    }

    /// The conference with this slug, for a join. During an outage of the store the cached record is used.
    pub async fn find_to_join(&self, slug: Slug) -> Result<ConferenceRecord, FindError> {
        let found = self.store.recall_conference_by_slug(slug).await?;
        found
            .map(|found| found.value)
            .ok_or(FindError::NoConference)
    }

    /// The conference and the caller's standing in it. An invitation-only conference is visible to members only.
    pub async fn info(
        &self,
        caller: &SignedIn,
        slug: Slug,
    ) -> Result<(ConferenceRecord, Role), ViewError> {
        let conference = self.find(slug).await?;
        let role = self.role(conference.id, caller.account).await?;
        match (role, conference.visibility) {
            (Role::Banned, _) => Err(ViewError::Banned),
            (Role::Unspecified, Visibility::Invite | Visibility::Unspecified) => {
                Err(ViewError::InvitationOnly)
            }
            _ => Ok((conference, role)),
        }
    }

    /// The conferences of which `caller` is a member.
    pub async fn list(
        &self,
        caller: &SignedIn,
        after: Option<Cursor>,
    ) -> Result<Page<Membership>, StoreError> {
        let mut page = self
            .store
            .conferences_of(caller.account, after, CONFERENCE_PAGE)
            .await?;
        page.items
            .retain(|membership| membership.standing.role != Role::Banned);
        Ok(page)
    }

    /// The members. Bans are visible only to accounts that may lift them.
    pub async fn members(
        &self,
        caller: &SignedIn,
        slug: Slug,
        after: Option<Cursor>,
    ) -> Result<Page<MemberRecord>, ViewError> {
        let conference = self.find(slug).await?;
        let role = self.role(conference.id, caller.account).await?;
        match role {
            Role::Banned => return Err(ViewError::Banned),
            Role::Unspecified => return Err(ViewError::MembersOnly),
            _ => {}
        }
        let mut page = self
            .store
            .members(conference.id, after, MEMBER_PAGE)
            .await?;
        if !matches!(role, Role::Owner | Role::Moderator) {
            page.items
                .retain(|member| member.standing.role != Role::Banned);
        } else if page.next.is_none() {
            self.add_banned_guests(conference.id, &mut page.items)
                .await?;
        }
        Ok(page)
    }

    /// Changes the title, or who may join. Who is a member, or in the room, stays.
    pub async fn change(
        &self,
        caller: &SignedIn,
        slug: Slug,
        change: ConferenceChange,
    ) -> Result<ConferenceRecord, ChangeConferenceError> {
        let conference = self.find(slug).await?;
        if conference.owner != caller.account {
            return Err(ChangeConferenceError::NotOwner);
        }
        Ok(self
            .store
            .change_conference(conference.id, caller.account, change)
            .await?)
    }

    /// Deletes the conference and closes its room.
    pub async fn delete(&self, caller: &SignedIn, slug: Slug) -> Result<Settled, DeleteError> {
        let conference = self.find(slug).await?;
        if conference.owner != caller.account {
            return Err(DeleteError::NotOwner);
        }
        Ok(self.rooms.delete(conference.id).await?)
    }

    /// Deletes every conference that the account owns.
    pub async fn delete_owned(&self, account: AccountId) -> Result<(), DeleteError> {
        let mut cursor = None;
        loop {
            let page = self
                .store
                .conferences_of(account, cursor, CONFERENCE_PAGE)
                .await?;
            for Membership { conference, .. } in page.items {
                if conference.owner == account {
                    self.rooms.delete(conference.id).await?;
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// Ends the caller's membership; the caller's devices leave the room.
    pub async fn leave(&self, caller: &SignedIn, slug: Slug) -> Result<Settled, LeaveError> {
        let conference = self.find(slug).await?;
        let standing = self.store.member(conference.id, caller.account).await?;
        let standing = standing.ok_or(LeaveError::NotAMember)?;
        let is_open = conference.visibility == Visibility::Public;
        match standing.role {
            Role::Owner => Err(LeaveError::Owner),
            // Leaving and joining again would lift the ban.
            Role::Banned => Err(LeaveError::Banned),
            _ if is_open && (standing.muted || standing.role == Role::Listener) => {
                Err(LeaveError::Silenced)
            }
            _ => Ok(self
                .rooms
                .change(conference.id, caller.account, Some(standing), None)
                .await?),
        }
    }

    /// Makes an account a member or a listener. Does nothing if it has that role already.
    pub async fn invite(
        &self,
        caller: &SignedIn,
        slug: Slug,
        username: Username,
        role: Role,
    ) -> Result<(), ModerationError> {
        let (conference, target) = self.may(caller, slug, username, Act::Invite(role)).await?;
        match target.standing.map(|standing| standing.role) {
            Some(Role::Banned) => Err(ModerationError::TargetBanned),
            Some(has) if has != role => Err(ModerationError::HasRole(has)),
            Some(_) => Ok(()),
            None => {
                self.invitations
                    .has_room_for_member::<ModerationError>(conference.id)
                    .await?;
                let standing = self.fresh(role);
                match self
                    .store
                    .add_member(conference.id, target.account.id, standing)
                    .await
                {
                    // The account joined by itself at the same moment.
                    Ok(()) | Err(StoreError::Conflict) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// Changes a member's role, or lifts a ban. With `only_of_banned` it does the latter alone.
    pub async fn set_role(
        &self,
        caller: &SignedIn,
        slug: Slug,
        username: Username,
        (role, only_of_banned): (Role, bool),
    ) -> Result<Settled, ModerationError> {
        if username.is_guest() && self.lift_guest_ban(caller, &slug, &username, role).await? {
            return Ok(Settled::Everywhere);
        }
        let (conference, target) = self.may(caller, slug, username, Act::SetRole(role)).await?;
        let old = match target.standing {
            Some(old) if only_of_banned && old.role != Role::Banned => {
                return Err(ModerationError::NotBanned);
            }
            None if only_of_banned => return Err(ModerationError::NotBanned),
            other => other.ok_or(ModerationError::NotAMember)?,
        };
        let new = old.changed_to(role, old.muted);
        Ok(self
            .rooms
            .change(conference.id, target.account.id, Some(old), Some(new))
            .await?)
    }

    /// Removes an account's devices from the room.
    pub async fn kick(
        &self,
        caller: &SignedIn,
        slug: Slug,
        username: Username,
    ) -> Result<Settled, ModerationError> {
        let (conference, target) = self.may(caller, slug, username, Act::Kick).await?;
        Ok(self.rooms.kick(conference.id, target.account.id).await?)
    }

    /// Removes an account from the room and refuses it from then on. A guest's device is refused as well, and the invitation by which it
    /// came ends: it would come by it again under another name.
    pub async fn ban(
        &self,
        caller: &SignedIn,
        slug: Slug,
        username: Username,
    ) -> Result<Settled, ModerationError> {
        let (conference, target) = self.may(caller, slug, username, Act::Ban).await?;
        self.refuse_guest(conference.id, &target.account).await?;
        let new = match target.standing {
            Some(old) => old.changed_to(Role::Banned, old.muted),
            None => {
                self.invitations
                    .has_room_for_member::<ModerationError>(conference.id)
                    .await?;
                self.fresh(Role::Banned)
            }
        };
        let settled = self
            .rooms
            .change(conference.id, target.account.id, target.standing, Some(new))
            .await?;
        self.ban_guests_of_device(conference.id, &target.account)
            .await?;
        Ok(settled)
    }

    /// Mutes or unmutes a member.
    pub async fn mute(
        &self,
        caller: &SignedIn,
        slug: Slug,
        username: Username,
        muted: bool,
    ) -> Result<Settled, ModerationError> {
        let (conference, target) = self.may(caller, slug, username, Act::Mute).await?;
        let old = target.standing.ok_or(ModerationError::NotAMember)?;
        let new = old.changed_to(old.role, muted);
        Ok(self
            .rooms
            .change(conference.id, target.account.id, Some(old), Some(new))
            .await?)
    }

    /// Checks the caller's permission and returns the target account.
    async fn may(
        &self,
        caller: &SignedIn,
        slug: Slug,
        username: Username,
        act: Act,
    ) -> Result<(ConferenceRecord, Target), ModerationError> {
        let conference = self.find(slug).await?;
        let actor = self.role(conference.id, caller.account).await?;
        // First without a target, so that an account without permission does not learn which names exist.
        rights::check(actor, act, None, false)?;
        let account = self
            .store
            .account_by_username(username)
            .await?
            .ok_or(ModerationError::NoAccount)?;
        let standing = self.store.member(conference.id, account.id).await?;
        let role = standing.map(|standing| standing.role);
        rights::check(actor, act, role, account.id == caller.account)?;
        let target = Target { account, standing };
        Ok((conference, target))
    }

    pub(super) async fn role(
        &self,
        conference: ConferenceId,
        account: AccountId,
    ) -> Result<Role, StoreError> {
        let standing = self.store.member(conference, account).await?;
        Ok(standing.map_or(Role::Unspecified, |standing| standing.role))
    }

    pub(super) fn fresh(&self, role: Role) -> Standing {
        Standing::first(role, self.clock.now())
    }
}

struct Target {
    account: AccountRecord,
    standing: Option<Standing>,
}
