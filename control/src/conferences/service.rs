//! What can be done with a conference.

use std::sync::Arc;

use confab_protocol::control::room::{Role, Visibility};
use confab_protocol::control::{
    AccountId, ConferenceId, ErrorCode, Refusal, Region, Slug, Title, Username,
};

use super::rights::{self, Deed};
use crate::accounts::SignedIn;
use crate::clock::Clock;
use crate::random;
use crate::rooms::{Rooms, Settled};
use crate::store::{
    ConferenceRecord, Cursor, MemberRecord, Membership, Page, Standing, Store, StoreError,
};

/// Conferences in a page.
pub const CONFERENCE_PAGE: u32 = 100;
/// Members in a page.
pub const MEMBER_PAGE: u32 = 500;

/// Conferences over a store, and the rooms that are live.
pub struct Conferences {
    store: Arc<dyn Store>,
    rooms: Rooms,
    clock: Clock,
    max_owned: u64,
    max_members: u64,
}

impl Conferences {
    /// An account may own `max_owned`; one has `max_members`.
    pub fn new(
        store: Arc<dyn Store>,
        rooms: Rooms,
        clock: Clock,
        max_owned: u64,
        max_members: u64,
    ) -> Self {
        Self {
            store,
            rooms,
            clock,
            max_owned,
            max_members,
        }
    }

    /// Makes a conference that `who` owns.
    pub async fn create(
        &self,
        who: &SignedIn,
        slug: Slug,
        title: Title,
        visibility: Visibility,
        region: Option<Region>,
    ) -> Result<ConferenceRecord, Refusal> {
        if self.store.count_owned(who.account).await? >= self.max_owned {
            return Err(Refusal::new(
                ErrorCode::LimitReached,
                format!(
                    "you own {} conferences, as many as one may: delete one first",
                    self.max_owned
                ),
            ));
        }
        let now = self.clock.now();
        let conference = ConferenceRecord {
            id: ConferenceId::new(random::time_ordered_id(now)),
            slug,
            title,
            visibility,
            owner: who.account,
            owner_name: who.username.clone(),
            created: now,
            region,
        };
        self.store.create_conference(conference.clone()).await?;
        Ok(conference)
    }

    /// The conference of a slug.
    pub async fn find(&self, slug: Slug) -> Result<ConferenceRecord, Refusal> {
        self.store
            .conference_by_slug(slug)
            .await?
            .ok_or_else(not_found)
    }

    /// The conference of a slug, for somebody who joins its room: known, if need be, from before the store went down.
    pub async fn find_to_join(&self, slug: Slug) -> Result<ConferenceRecord, Refusal> {
        let found = self.store.recall_conference_by_slug(slug).await?;
        found.map(|found| found.value).ok_or_else(not_found)
    }

    /// The conference, and what `who` is in it. One by invitation shows itself to its members alone.
    pub async fn info(
        &self,
        who: &SignedIn,
        slug: Slug,
    ) -> Result<(ConferenceRecord, Role), Refusal> {
        let conference = self.find(slug).await?;
        let role = self.role(conference.id, who.account).await?;
        match (role, conference.visibility) {
            (Role::Banned, _) => Err(banned()),
            (Role::Unspecified, Visibility::Invite | Visibility::Unspecified) => Err(Refusal::new(
                ErrorCode::Denied,
                "this conference is by invitation: ask its owner for one",
            )),
            _ => Ok((conference, role)),
        }
    }

    /// The conferences of which `who` is a member.
    pub async fn list(
        &self,
        who: &SignedIn,
        after: Option<Cursor>,
    ) -> Result<Page<Membership>, Refusal> {
        let mut page = self
            .store
            .conferences_of(who.account, after, CONFERENCE_PAGE)
            .await?;
        page.items
            .retain(|membership| membership.standing.role != Role::Banned);
        Ok(page)
    }

    /// Who is a member. Bans are shown to those who may lift them.
    pub async fn members(
        &self,
        who: &SignedIn,
        slug: Slug,
        after: Option<Cursor>,
    ) -> Result<Page<MemberRecord>, Refusal> {
        let conference = self.find(slug).await?;
        let role = self.role(conference.id, who.account).await?;
        match role {
            Role::Banned => return Err(banned()),
            Role::Unspecified => {
                let message = "only members may see who else is a member: join first";
                return Err(Refusal::new(ErrorCode::Denied, message));
            }
            _ => {}
        }
        let mut page = self
            .store
            .members(conference.id, after, MEMBER_PAGE)
            .await?;
        if !matches!(role, Role::Owner | Role::Moderator) {
            page.items
                .retain(|member| member.standing.role != Role::Banned);
        }
        Ok(page)
    }

    /// Deletes the conference and closes its room.
    pub async fn delete(&self, who: &SignedIn, slug: Slug) -> Result<Settled, Refusal> {
        let conference = self.find(slug).await?;
        if conference.owner != who.account {
            let message = "only the owner may delete the conference";
            return Err(Refusal::new(ErrorCode::Denied, message));
        }
        self.rooms.delete(conference.id).await
    }

    /// Deletes every conference that the account owns.
    pub async fn delete_owned(&self, account: AccountId) -> Result<(), Refusal> {
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

    /// Gives the membership up; the account's devices leave the room.
    pub async fn leave(&self, who: &SignedIn, slug: Slug) -> Result<Settled, Refusal> {
        let conference = self.find(slug).await?;
        let standing = self.store.member(conference.id, who.account).await?;
        let standing = standing.ok_or_else(|| {
            Refusal::new(
                ErrorCode::NotFound,
                "you are not a member of this conference",
            )
        })?;
        let is_open = conference.visibility == Visibility::Public;
        match standing.role {
            Role::Owner => Err(Refusal::new(
                ErrorCode::Owner,
                "the owner cannot leave: delete the conference instead",
            )),
            // To leave and come again would lift it.
            Role::Banned => Err(banned()),
            _ if is_open && (standing.muted || standing.role == Role::Listener) => {
                Err(Refusal::new(
                    ErrorCode::Denied,
                    "you may not speak here, and leaving would lift that: ask a moderator to let you go",
                ))
            }
            _ => {
                self.rooms
                    .change(conference.id, who.account, Some(standing), None)
                    .await
            }
        }
    }

    /// Makes somebody a member or a listener. Nothing happens to who is one already.
    pub async fn invite(
        &self,
        who: &SignedIn,
        slug: Slug,
        username: Username,
        role: Role,
    ) -> Result<(), Refusal> {
        let (conference, target) = self.may(who, slug, username, Deed::Invite(role)).await?;
        match target.standing.map(|standing| standing.role) {
            Some(Role::Banned) => Err(Refusal::new(
                ErrorCode::Banned,
                "this account is banned: lift that by giving it a role",
            )),
            Some(_) => Ok(()),
            None => {
                self.has_room_for_member(conference.id).await?;
                let standing = self.fresh(role);
                match self
                    .store
                    .add_member(conference.id, target.account, standing)
                    .await
                {
                    // It came in by itself at the same moment.
                    Ok(()) | Err(StoreError::Conflict) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// Gives a member another role, or lifts a ban.
    pub async fn set_role(
        &self,
        who: &SignedIn,
        slug: Slug,
        username: Username,
        role: Role,
    ) -> Result<Settled, Refusal> {
        let (conference, target) = self.may(who, slug, username, Deed::SetRole(role)).await?;
        let old = target.standing.ok_or_else(not_a_member)?;
        let new = old.changed_to(role, old.muted);
        self.rooms
            .change(conference.id, target.account, Some(old), Some(new))
            .await
    }

    /// Takes an account's devices out of the room.
    pub async fn kick(
        &self,
        who: &SignedIn,
        slug: Slug,
        username: Username,
    ) -> Result<Settled, Refusal> {
        let (conference, target) = self.may(who, slug, username, Deed::Kick).await?;
        self.rooms.kick(conference.id, target.account).await
    }

    /// Takes an account out of the room and keeps it out.
    pub async fn ban(
        &self,
        who: &SignedIn,
        slug: Slug,
        username: Username,
    ) -> Result<Settled, Refusal> {
        let (conference, target) = self.may(who, slug, username, Deed::Ban).await?;
        let new = match target.standing {
            Some(old) => old.changed_to(Role::Banned, old.muted),
            None => {
                self.has_room_for_member(conference.id).await?;
                self.fresh(Role::Banned)
            }
        };
        self.rooms
            .change(conference.id, target.account, target.standing, Some(new))
            .await
    }

    /// Silences a member, or lifts that.
    pub async fn mute(
        &self,
        who: &SignedIn,
        slug: Slug,
        username: Username,
        muted: bool,
    ) -> Result<Settled, Refusal> {
        let (conference, target) = self.may(who, slug, username, Deed::Mute).await?;
        let old = target.standing.ok_or_else(not_a_member)?;
        let new = old.changed_to(old.role, muted);
        self.rooms
            .change(conference.id, target.account, Some(old), Some(new))
            .await
    }

    /// Whether `who` may do it; to whom.
    async fn may(
        &self,
        who: &SignedIn,
        slug: Slug,
        username: Username,
        deed: Deed,
    ) -> Result<(ConferenceRecord, Target), Refusal> {
        let conference = self.find(slug).await?;
        let actor = self.role(conference.id, who.account).await?;
        // First with nobody as the target: who may do nothing here does not learn which names exist.
        rights::check(actor, deed, None, false)?;
        let account = self
            .store
            .account_by_username(username)
            .await?
            .ok_or_else(|| {
                Refusal::new(ErrorCode::NotFound, "there is no account of this name")
                    .about("username")
            })?;
        let standing = self.store.member(conference.id, account.id).await?;
        let role = standing.map(|standing| standing.role);
        rights::check(actor, deed, role, account.id == who.account)?;
        let target = Target {
            account: account.id,
            standing,
        };
        Ok((conference, target))
    }

    async fn role(&self, conference: ConferenceId, account: AccountId) -> Result<Role, Refusal> {
        let standing = self.store.member(conference, account).await?;
        Ok(standing.map_or(Role::Unspecified, |standing| standing.role))
    }

    async fn has_room_for_member(&self, conference: ConferenceId) -> Result<(), Refusal> {
        if self.store.count_members(conference).await? < self.max_members {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::LimitReached,
            format!(
                "the conference has its {} members already",
                self.max_members
            ),
        ))
    }

    fn fresh(&self, role: Role) -> Standing {
        Standing {
            role,
            muted: false,
            since: self.clock.now(),
            revision: 0,
        }
    }
}

struct Target {
    account: AccountId,
    standing: Option<Standing>,
}

fn not_found() -> Refusal {
    Refusal::new(
        ErrorCode::NotFound,
        "there is no conference of this slug: check how it is spelt",
    )
    .about("slug")
}

fn not_a_member() -> Refusal {
    Refusal::new(
        ErrorCode::NotFound,
        "this account is not a member of the conference: invite it first",
    )
    .about("username")
}

fn banned() -> Refusal {
    Refusal::new(ErrorCode::Banned, "you are banned from this conference")
}
